# shellcheck shell=sh
# mbox at the prompt of a shell without hooks: dash, busybox ash, ksh, mksh,
# yash. Printed by `mbox init sh`; then
#
#     PS1='$(__mbox_ps1)'$PS1
#
# puts `[mail] ` before the prompt for as long as there is mail. It runs
# builtins only. A prompt that is made in a subshell remembers nothing and may
# lose what it prints, so MBOX_PROMPT=show is like notice here.
__mbox_ps1() {
  __mbox_status=$?
  __mbox_records=${MBOX_ROOT:-${XDG_STATE_HOME:-${HOME-}/.local/state}/mbox}/mailboxes/${MBOX_NAME-}.jsonl
  if [ -s "$__mbox_records" ] || [ -e "$__mbox_records.claims" ]; then
    [ -z "${MBOX_NAME-}" ] || [ "${MBOX_PROMPT-}" = off ] || \command echo '[mail] '
  fi
  case $- in *e*) return 0 ;; esac
  return "$__mbox_status"
}
