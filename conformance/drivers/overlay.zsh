# The functions of shell/mbox.zsh as a command: what somebody who sources them gets.
# The hook of an agent is a script alone. Options before the verb go to mbox.sh, which knows
# them all.
. ${0:A:h}/../../shell/mbox.zsh
case ${1-} in
  append|drain|peek|take|has|send|reply|acquire|release) "mbox_$1" "${@:2}" ;;
  hook) exit 2 ;;
  *) __mbox_call "$@" ;;
esac
