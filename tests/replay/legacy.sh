# shellcheck shell=sh
# A legacy peer (oxtail 0.14) that appends: spec/rationale.md, "Legacy peers".
# Usage: legacy.sh append MAILBOX BODY --id ID ...
B=$MBOX_ROOT/mailboxes/$2.jsonl
D=$B.lock O=$B.lock.owner S=$B.lock.steal
token=$$.legacy

owner() { obs='' had='' && [ -f "$O" ] && had=1 && { read -r obs || :; } <"$O"; }
is_old() { mtime=$(stat -c %Y "$1" 2>/dev/null) && [ $(($(date +%s) - mtime)) -gt 30 ]; }

while ! mkdir "$D" 2>/dev/null; do
  if is_old "$D"; then
    owner
    seen=$had:$obs
    if mkdir "$S" 2>/dev/null; then
      owner
      if [ "$had:$obs" = "$seen" ]; then
        [ -z "$had" ] || rm -f "$O"
        rmdir "$D"
      fi
      rmdir "$S"
      continue
    fi
    ! is_old "$S" || rmdir "$S"
  fi
  sleep 0.01
done 2>/dev/null
printf %s "$token" >"$O"
[ ! -s "$B" ] || [ -z "$(tail -c 1 "$B")" ] || echo >>"$B"
printf '{"schema_version":1,"id":"%s","body":"%s"}\n' "$5" "$3" >>"$B"
owner
[ "$obs" != "$token" ] || { rm -f "$O" && rmdir "$D"; }
