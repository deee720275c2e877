#!/bin/sh
# A hook as it is written first: it brings mail, and has every defect that
# defects.rs looks for. Each is marked where it is.
# usage: naive.sh claude <EVENT
root=$MBOX_ROOT

# the event is not a line: what is printed over several is ignored
read -r event
# nor is a member found by its name: a subagent's call is taken for the agent's
session=$(printf '%s\n' "$event" | sed -n 's/.*"session_id":"\([^"]*\)".*/\1/p')
moment=$(printf '%s\n' "$event" | sed -n 's/.*"hook_event_name":"\([^"]*\)".*/\1/p')
[ -n "$session" ] && [ -n "$moment" ] || exit 0

text=
for box in "$root"/mailboxes/*.jsonl; do
  [ -s "$box" ] || continue
  name=${box##*/}
  # a session is no pattern
  printf '%s\n' "${name%.jsonl}" | grep -q "^$session\$" || continue
  has_mail=
  # an id that is there twice is a message sent twice
  while read -r line; do
    case $line in *'"body":"'*) has_mail=1 ;; *) continue ;; esac
    body=${line#*'"body":"'} body=${body%%'"'*}
    # an empty body is a message
    [ -n "$body" ] || exit 0
    # and a long one more than the host takes
    text="$text\\n\\n$body"
  done <"$box"
  # what has no mail in it is looked at again at every event
  [ -z "$has_mail" ] || rm "$box"
done

# what somebody has read is no news
ledger=$root/received/$session.jsonl
if [ -z "$text" ] && [ -s "$ledger" ] && ! cmp -s "$ledger" "$ledger.told"; then
  cp "$ledger" "$ledger.told"
  text="\\n\\nYou have unread messages."
fi

[ -n "$text" ] || exit 0
# removed above: when this is not written, nobody has it
printf '{"hookSpecificOutput":{"hookEventName":"%s","additionalContext":"mail%s"}}\n' "$moment" "$text"
exit 0
