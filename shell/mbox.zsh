# mbox.zsh - the functions of mbox.sh, in zsh, without forks.
#
# Source it instead of mbox.sh, from the same directory. It is no second copy
# of the protocol: the steps are those of mbox.sh. Replaced are only the
# primitives under them, by the builtins of zsh/files, zsh/stat, zsh/system,
# zsh/datetime and zsh/zselect, and the subshell around a call, by what zsh
# restores by itself at the end of a function. append of a plain body, acquire,
# release, has, and a drain of an empty mailbox fork nothing.

if [[ -z ${__mbox_sticky_zsh-} ]]; then
  __mbox_self_zsh=${(%):-%x}
  # the file again, with the options of zsh whatever the user has set
  __mbox_sticky_zsh=1
  emulate -R zsh -o no_aliases -c '. "$__mbox_self_zsh"'
  unset __mbox_sticky_zsh __mbox_self_zsh
  return 0
fi

. "${__mbox_self_zsh:A:h}/mbox.sh"

zmodload -F zsh/files b:zf_mkdir b:zf_rm b:zf_rmdir b:zf_mv &&
  zmodload -F zsh/stat b:zstat &&
  zmodload -F zsh/system b:sysopen b:sysread b:syswrite b:sysseek &&
  { (( ${+EPOCHREALTIME} )) || zmodload -F zsh/datetime -p:EPOCHREALTIME; } &&
  zmodload -F zsh/zselect b:zselect || return 0 # then mbox.sh does it all

# --- primitives: see those of the same names in mbox.sh

# A function of the user's would be in the way of exec.
__mbox_run() {
  __mbox_err=$(
    trap '' INT TERM HUP
    command "$@" 2>&1
  )
}
__mbox_add_file() { __mbox_err=$(umask 077; trap '' INT TERM HUP; command dd bs=16777216 2>&1 <$2 >>$1); }

# A builtin does not tell its errno: what is there now decides, and the tool
# is asked for the words of any other failure.
__mbox_mkdir() {
  zf_mkdir -m 700 -- $1 2>/dev/null && return 0
  [[ ! -d $1 ]] || return 1
  __mbox_run mkdir -m 700 -- $1 && return 0
  [[ $__mbox_err == *[Ff]'ile exists'* ]] && return 1
  return 2
}
__mbox_mkdirs() { __mbox_err=$(umask 077; trap '' INT TERM HUP; command mkdir -p -- $1 2>&1); }
__mbox_rmdir() { zf_rmdir -- $1 2>/dev/null || __mbox_run rmdir -- $1; }
__mbox_unlink() {
  local f
  # it says nothing of a failure
  zf_rm -f -- "$@" 2>/dev/null
  for f; do
    [[ ! -e $f && ! -h $f ]] || __mbox_run rm -f -- $f || return
  done
}
__mbox_rename() { zf_mv -f -- $1 $2 2>/dev/null || __mbox_run mv -f -- $1 $2; }
__mbox_sleep() {
  local -i hundredths
  (( hundredths = 0.$1 * 100 ))
  # a signal ends it early, and is looked at next
  zselect -t $(( hundredths > 0 ? hundredths : 1 )) 2>/dev/null
  return 0
}
__mbox_stat() {
  local -A st
  zstat -L -H st -F '%s.%N' -- $1 2>/dev/null || return 1
  __mbox_mtime=${st[mtime]%%.*}
  __mbox_id="${st[mtime]} ${st[inode]}"
}
__mbox_others_write() {
  local f
  local -a mode
  for f; do
    zstat -L -A mode +mode -- $f 2>/dev/null || continue
    (( mode[1] & 2 )) && return 0
  done
  return 1
}
__mbox_ends_line() {
  local fd byte
  sysopen -r -o cloexec -u fd -- $1 2>/dev/null || return 1
  sysseek -u $fd -w end -1 && sysread -i $fd -s 1 byte
  exec {fd}<&-
  [[ $byte == $'\n' ]]
}
__mbox_tail() {
  local fd
  __mbox_x=
  sysopen -r -o cloexec -u fd -- $1 2>/dev/null || return 1
  # a file shorter than that is read from its beginning
  sysseek -u $fd -w end -$2 2>/dev/null
  sysread -i $fd -s $2 __mbox_x
  exec {fd}<&-
  while [[ $__mbox_x == *$'\n' ]]; do __mbox_x=${__mbox_x%$'\n'}; done
}
__mbox_hex() {
  local fd bytes c x
  __mbox_x=
  if ! sysopen -r -o cloexec -u fd /dev/urandom 2>/dev/null; then
    __mbox_fail 74 'cannot read /dev/urandom; see whether it is there'
    return
  fi
  sysread -i $fd -s 8 bytes
  exec {fd}<&-
  for c in ${(s::)bytes}; do
    builtin printf -v x %02x "'$c"
    __mbox_x+=$x
  done
  [[ ${#__mbox_x} -eq 16 ]] || __mbox_fail 74 'cannot read /dev/urandom; see whether it is there'
}
__mbox_create() {
  local fd
  sysopen -w -m 600 -o creat,excl,nofollow,cloexec -u fd -- $1 2>/dev/null || return 1
  [[ -z $2 ]] || syswrite -o $fd -- $2$'\n' 2>/dev/null || {
    exec {fd}>&-
    return 2
  }
  exec {fd}>&-
}
__mbox_add() {
  local fd
  sysopen -a -m 600 -o creat,nofollow,cloexec -u fd -- $1 2>/dev/null || return 1
  syswrite -o $fd -- $2$'\n' 2>/dev/null || {
    exec {fd}>&-
    return 2
  }
  exec {fd}>&-
}

__mbox_find_binary() {
  local dir
  for dir in $path; do
    __mbox_binary=$dir/mbox
    [[ -f $__mbox_binary && -x $__mbox_binary && $dir == /* ]] && return 0
  done
  return 1
}

# --- a call, in the user's shell

# The signals that are ignored, as the kernel has them: a trap that is restored at the end
# of a function would set one that was so from the start to its default. With none of them
# there is nothing to look for again: what the user ignores later, zsh knows.
__mbox_look_ignored() {
  local fd text
  typeset -gi __mbox_ignored=0
  sysopen -r -o cloexec -u fd /proc/self/status 2>/dev/null || return 0
  sysread -i $fd -s 8192 text
  exec {fd}<&-
  text=${${(M)${(f)text}:#SigIgn:*}##*[[:space:]]}
  [[ ${#text} -ne 16 || $text == *[^0-9a-f]* ]] || (( __mbox_ignored = 16#${text[9,16]} & 0x1005003, 1 ))
}
__mbox_look_ignored

# What writes more than that goes to a subshell after all.
__mbox_apart() {
  (
    umask 077
    (( ! __mbox_ignored )) || __mbox_look_ignored
    (( __mbox_ignored & 0x2 )) || trap '__mbox_signal=INT' INT
    (( __mbox_ignored & 0x4000 )) || trap '__mbox_signal=TERM' TERM
    (( __mbox_ignored & 0x1 )) || trap '__mbox_signal=HUP' HUP
    trap '' PIPE XFSZ
    [[ -z $__mbox_closed ]] || exec 1</dev/null
    "$@"
    __mbox_status=$?
    [[ -z $__mbox_signal ]] || __mbox_die
    exit $__mbox_status
  )
}

# Signals are noted by the traps of __mbox_guest and mbox_append: they must be set in the
# very function at whose end zsh restores those of the user, so they stand in both.
__mbox_arm() { :; }

__mbox_call() {
  if [[ ${MBOX_PURE-} != 1 ]] && __mbox_find_binary; then
    MBOX_PURE=1 command $__mbox_binary "$@"
    return
  fi
  __mbox_signal=
  __mbox_guest __mbox_main "$@"
}
# Runs a function of mbox.sh as a guest in the user's shell.
__mbox_guest() {
  setopt local_options local_traps no_multibyte
  (( ! __mbox_ignored )) || __mbox_look_ignored
  (( __mbox_ignored & 0x2 )) || trap '__mbox_signal=INT' INT
  (( __mbox_ignored & 0x4000 )) || trap '__mbox_signal=TERM' TERM
  (( __mbox_ignored & 0x1 )) || trap '__mbox_signal=HUP' HUP
  (( __mbox_ignored & 0x1000 )) || trap '' PIPE
  (( __mbox_ignored & 0x1000000 )) || trap '' XFSZ
  __mbox_script= __mbox_closed= __mbox_clock=live
  { { :; } 3>&1; } 2>/dev/null || __mbox_closed=1
  local IFS=$' \t\n'
  local -x LC_ALL=C
  local -i clock
  # a name in the user's shell only as long as the call; one from the environment stands still
  case ${(t)EPOCHREALTIME-} in
    *special*) ;;
    '') zmodload -F zsh/datetime +p:EPOCHREALTIME && clock=1 ;;
    *) __mbox_clock=date ;;
  esac
  "$@"
  local code=$?
  (( ! clock )) || zmodload -F zsh/datetime -p:EPOCHREALTIME
  return code
}
# CLI-6: once zsh has given the user's traps back, the signal again.
__mbox_again() {
  local code=$?
  [[ -z $__mbox_signal ]] || {
    local sig=$__mbox_signal pid=$$
    __mbox_signal=
    (( ! ZSH_SUBSHELL )) || pid=$(command sh -c 'echo $PPID')
    builtin kill -s $sig $pid
  }
  return code
}

mbox_drain() { __mbox_call drain "$@"; __mbox_again; }
mbox_peek() { __mbox_call peek "$@"; __mbox_again; }
mbox_take() { __mbox_call take "$@"; __mbox_again; }
mbox_send() { __mbox_call send "$@"; __mbox_again; }
mbox_reply() { __mbox_call reply "$@"; __mbox_again; }
mbox_release() { __mbox_call release "$@"; __mbox_again; }
mbox_acquire() {
  MBOX_TOKEN=
  if [[ ${MBOX_PURE-} != 1 ]] && __mbox_find_binary; then
    MBOX_TOKEN=$(MBOX_PURE=1 command $__mbox_binary acquire "$@") || return
    __mbox_put "$MBOX_TOKEN"
    return
  fi
  __mbox_taken= __mbox_token=
  __mbox_call acquire "$@" && MBOX_TOKEN=$__mbox_token
  __mbox_again
}

# --- an append in one go

# What is left of an append that had the lock: of the record $3, whose id is $2, for the
# mailbox $1; with a $4 when it was found written.
__mbox_go_on() {
  __mbox_begin
  __mbox_message=$2 __mbox_text=$3
  __mbox_locate "$1" || return
  # ours or lost, whichever: what was not found is appended again (APP-7)
  __mbox_release
  [[ -n $4 ]] || { __mbox_deadline && __mbox_append; } || return
  __mbox_answer "$__mbox_message"
}

# What it mostly is, a plain body for a mailbox that nobody else is at, without a call of
# another function: zsh spends more on calling forty than on all they do. The steps are those
# of __mbox_verb_append, and it knows no way but the straight one. Whatever is unusual breaks
# out of it: with nothing written, and what was made of the lock undone, or with the lock had.
mbox_append() {
  if [[ ${MBOX_PURE-} != 1 ]] && __mbox_find_binary; then
    MBOX_PURE=1 command $__mbox_binary append "$@"
    return
  fi
  local B=$1 body=$2 root= now='%D{%s}' fd raw hex id text token= written= before= lead= found= D O
  __mbox_signal=
  setopt local_options local_traps no_multibyte
  trap '[[ -z $__mbox_signal ]] || __mbox_again' EXIT
  (( ! __mbox_ignored )) || __mbox_look_ignored
  (( __mbox_ignored & 0x2 )) || trap '__mbox_signal=INT' INT
  (( __mbox_ignored & 0x4000 )) || trap '__mbox_signal=TERM' TERM
  (( __mbox_ignored & 0x1 )) || trap '__mbox_signal=HUP' HUP
  (( __mbox_ignored & 0x1000 )) || trap '' PIPE
  (( __mbox_ignored & 0x1000000 )) || trap '' XFSZ
  repeat 1; do
    [[ $# -eq 2 && ${#body} -le 700 && $body != *[^\ -~]* && $body != *[\"\\]* && $body != -* &&
      $B != -* && -z ${MBOX_MAX_BODY-} ]] || break
    if [[ $B != */* ]]; then
      root=${MBOX_ROOT:-${XDG_STATE_HOME:+$XDG_STATE_HOME/mbox}}           # ROOT-1
      : ${root:=${HOME:+$HOME/.local/state/mbox}}
      [[ $B == [A-Za-z0-9_@+]* && $B != *[^A-Za-z0-9._@+-]* && ${#B} -le 128 &&
        -n $root && $root != -* && $root != ?*/ ]] || break
      B=$root/mailboxes/$B.jsonl                                          # ROOT-2
      # ROOT-4
      local -a mode
      [[ -O $root && -O $root/mailboxes ]] && zstat -L -A mode +mode -- $root $root/mailboxes &&
        (( (mode[1] & 61442) == 16384 && (mode[2] & 61442) == 16384 )) || break # a directory, not o+w
    fi
    D=$B.lock O=$B.lock.owner
    # FILE-2, FILE-3
    [[ ! -e $O && ! -h $O && ! -e $D.steal && ! -h $D.steal &&
      ( -f $B || ! -e $B ) && ! -h $B && ( -f $D.guard || ! -e $D.guard ) && ! -h $D.guard ]] || break
    # Format
    sysopen -r -o cloexec -u fd /dev/urandom || break
    sysread -i $fd -s 16 raw
    exec {fd}<&-
    builtin printf -v hex %02x "'"${(s::)^raw}
    [[ ${#hex} -eq 32 ]] || break
    id=${hex[1,16]}
    text="{\"schema_version\":1,\"id\":\"$id\",\"body\":\"$body\",\"enqueued_at\":${(%)now},\"body_bytes\":${#body},\"origin\":\"peer\"}"
    # Acquire; ACQ-3, ACQ-4, ACQ-5
    zf_mkdir -m 700 -- $D || break
    if ! sysopen -w -m 600 -o creat,excl,nofollow,cloexec -u fd -- $O; then
      [[ -e $O || -h $O ]] || zf_rmdir -- $D
      break
    fi
    if ! syswrite -o $fd -- $$.${hex[17,32]}$'\n'; then
      exec {fd}>&-
      zf_rm -f -- $O
      [[ -e $O || -h $O ]] || zf_rmdir -- $D
      break
    fi
    exec {fd}>&-
    token=$$.${hex[17,32]}                                                # TOKEN-1
    # Open, Heal, Write; APP-2, APP-3, APP-4
    [[ -f $B || ! -e $B ]] &&
      sysopen -rw -a -m 600 -o creat,nofollow,cloexec -u fd -- $B || break
    # empty: there is no such place
    if sysseek -u $fd -w end -1; then
      before=$'\n'
      sysread -i $fd -s 1 found
      [[ $found == $'\n' ]] || lead=$'\n'
    fi
    # APP-8
    found=
    syswrite -o $fd -- $lead$text$'\n' &&
      sysseek -u $fd -w end -$(( ${#before} + ${#text} + 1 )) &&
      sysread -i $fd -s $(( ${#text} + 3 )) found
    exec {fd}>&-
    [[ $found == $before$text$'\n' && -f $O ]] || break
    # Release; REL-1, APP-7
    sysopen -r -o nofollow,cloexec -u fd -- $O || break
    found=
    sysread -i $fd -s 100 found
    exec {fd}<&-
    [[ $found == $token$'\n' ]] || break
    written=1
    # it says nothing of a failure; without -f it may ask, and read the user's stdin
    zf_rm -f -- $O
    [[ ! -e $O && ! -h $O ]] || break
    # not empty: somebody else's business
    zf_rmdir -- $D
    # the redirection fails where print does not
    builtin print -r -- $id >&1 || break
    return 0
  done 2>/dev/null
  # said where it can be seen
  local was=$__mbox_signal
  if [[ -z $token ]]; then
    __mbox_guest __mbox_main append "$@"
  else
    __mbox_token=$token
    __mbox_guest __mbox_go_on "$1" $id "$text" "$written"
  fi
  local code=$?
  : ${__mbox_signal:=$was}
  return code
}
