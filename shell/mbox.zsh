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
__mbox_mkdirs() { (umask 077 && __mbox_run mkdir -p -- $1); }
__mbox_rmdir() { zf_rmdir -- $1 2>/dev/null || __mbox_run rmdir -- $1; }
__mbox_unlink() { zf_rm -f -- "$@" 2>/dev/null || __mbox_run rm -f -- "$@"; }
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

# --- an append in one go

# What mbox_append mostly is, a plain body for a mailbox that nobody else is at:
# the steps of __mbox_verb_append in one function, because a zsh spends more on
# calling forty than on all they do. It knows no way but the straight one.
# 0 done. 1: something is unusual; nothing was written, and what was made of the
# lock is undone, so that __mbox_main can begin. 2: the lock was had, and the
# steps go on with the record `text` in __mbox_go_on.
__mbox_append_at_once() {
  local B=$1 body=$2 root= now='%D{%s}' fd raw hex token before= lead= found=
  local -a mode bytes
  [[ ${#body} -le 700 && $body != *[^\ -~]* && $body != *[\"\\]* && $body != -* && $B != -* &&
    -z ${MBOX_MAX_BODY-} ]] || return 1
  if [[ $B != */* ]]; then
    root=${MBOX_ROOT:-${XDG_STATE_HOME:+$XDG_STATE_HOME/mbox}}             # ROOT-1
    : ${root:=${HOME:+$HOME/.local/state/mbox}}
    [[ $B == [A-Za-z0-9_@+]* && $B != *[^A-Za-z0-9._@+-]* && ${#B} -le 128 &&
      -n $root && $root != -* && $root != ?*/ ]] || return 1
    B=$root/mailboxes/$B.jsonl                                            # ROOT-2
  fi
  local D=$B.lock O=$B.lock.owner
  {
    # ROOT-4
    [[ -z $root ]] || {
      [[ -O $root && -O $root/mailboxes ]] && zstat -L -A mode +mode -- $root $root/mailboxes &&
        (( (mode[1] & 61442) == 16384 && (mode[2] & 61442) == 16384 )) # a directory, not o+w
    } || return 1
    # FILE-2, FILE-3
    [[ ! -e $O && ! -h $O && ! -e $D.steal && ! -h $D.steal &&
      ( -f $B || ! -e $B ) && ! -h $B && ( -f $D.guard || ! -e $D.guard ) && ! -h $D.guard ]] || return 1
    # Format
    sysopen -r -o cloexec -u fd /dev/urandom || return 1
    sysread -i $fd -s 16 raw
    exec {fd}<&-
    bytes=("'"${(s::)^raw})
    builtin printf -v hex %02x "${bytes[@]}"
    [[ ${#hex} -eq 32 ]] || return 1
    id=${hex[1,16]} token=$$.${hex[17,32]}                              # TOKEN-1
    text="{\"schema_version\":1,\"id\":\"$id\",\"body\":\"$body\",\"enqueued_at\":${(%)now},\"body_bytes\":${#body},\"origin\":\"peer\"}"
    # Acquire; ACQ-3, ACQ-4, ACQ-5
    zf_mkdir -m 700 -- $D || return 1
    if ! sysopen -w -m 600 -o creat,excl,nofollow,cloexec -u fd -- $O; then
      [[ -e $O || -h $O ]] || zf_rmdir -- $D
      return 1
    fi
    syswrite -o $fd -- $token$'\n' || {
      exec {fd}>&-
      zf_rm -f -- $O && zf_rmdir -- $D
      return 1
    }
    exec {fd}>&-
    __mbox_token=$token
    # Open, Heal, Write; APP-2, APP-3, APP-4
    [[ -f $B || ! -e $B ]] &&
      sysopen -rw -a -m 600 -o creat,nofollow,cloexec -u fd -- $B || return 2
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
    [[ $found == $before$text$'\n' && -f $O ]] || return 2
    # Release; REL-1, APP-7
    sysopen -r -o nofollow,cloexec -u fd -- $O || return 2
    found=
    sysread -i $fd -s 100 found
    exec {fd}<&-
    [[ $found == $token$'\n' ]] || return 2
    if zf_rm -f -- $O; then
      # not empty: somebody else's business
      zf_rmdir -- $D
      builtin print -r -- $id && return 0
    fi
  } 2>/dev/null
  # these say what cannot be done
  __mbox_O=$O __mbox_D=$D
  __mbox_release
  __mbox_answer $id
}
# The record $2, whose id is $1, from wherever the lock was had.
__mbox_go_on() {
  __mbox_message=$1 __mbox_text=$2
  # ours or lost, whichever: the append is done again (APP-7)
  __mbox_release
  __mbox_deadline && __mbox_append && __mbox_answer "$__mbox_message"
}

# --- a call, in the user's shell

# What writes more than that goes to a subshell after all.
__mbox_apart() {
  (
    umask 077
    trap '__mbox_signal=INT' INT
    trap '__mbox_signal=TERM' TERM
    trap '__mbox_signal=HUP' HUP
    "$@"
    __mbox_status=$?
    [[ -z $__mbox_signal ]] || __mbox_die
    exit $__mbox_status
  )
}

# Signals are noted by the traps of __mbox_call: they must be set in the very
# function at whose end zsh restores those of the user.
__mbox_arm() { :; }

__mbox_call() {
  if [[ ${MBOX_PURE-} != 1 ]] && __mbox_find_binary; then
    MBOX_PURE=1 command $__mbox_binary "$@"
    return
  fi
  setopt local_options local_traps no_multibyte
  __mbox_signal= __mbox_script= __mbox_closed= __mbox_clock=live
  trap '__mbox_signal=INT' INT
  trap '__mbox_signal=TERM' TERM
  trap '__mbox_signal=HUP' HUP
  trap '' PIPE
  trap '' XFSZ
  local id= text=
  local -i clock code=1
  if [[ $# -eq 3 && $1 == append ]]; then
    __mbox_append_at_once "$2" "$3" && return
    code=$?
  fi
  local IFS=$' \t\n'
  local -x LC_ALL=C
  # a name in the user's shell only as long as the call; one from the environment stands still
  case ${(t)EPOCHREALTIME-} in
    *special*) ;;
    '') zmodload -F zsh/datetime +p:EPOCHREALTIME && clock=1 ;;
    *) __mbox_clock=date ;;
  esac
  if (( code == 2 )); then
    local was=$__mbox_signal
    __mbox_begin
    __mbox_signal=$was
    __mbox_locate $2 && __mbox_go_on $id $text
  else
    __mbox_main "$@"
  fi
  code=$?
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

mbox_append() {
  __mbox_call append "$@"
  local code=$?
  [[ -z $__mbox_signal ]] || __mbox_again
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
