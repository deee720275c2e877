# shellcheck shell=bash
# mbox at the prompt of bash, 3.2 and later. Printed by `mbox init bash`.
#
# Idle, a prompt costs a few tests and no fork. Only names that begin with
# __mbox_ are made; PROMPT_COMMAND, or precmd_functions, is the one thing of
# yours that is added to.

# Called as `__mbox_prompt "$_"`: its last argument is $_ again behind it. No
# local, which would be a third of what it costs.
__mbox_prompt() {
  __mbox_status=$?
  __mbox_records=${MBOX_ROOT:-${XDG_STATE_HOME:-${HOME-}/.local/state}/mbox}/mailboxes/${MBOX_NAME-}.jsonl
  if [[ -s $__mbox_records || -e $__mbox_records.claims ]]; then __mbox_mail; else __mbox_seen=''; fi
  # under `set -e` any other status would end the shell
  case $- in *e*) \return 0 ;; esac
  \return "$__mbox_status"
}

# There is mail. mbox says what it told last time by a word that is given back
# to it, and nothing when no message has come since.
__mbox_mail() {
  \builtin local __mbox_root __mbox_line __mbox_code=0
  __mbox_root=${__mbox_records%/mailboxes/*}
  [[ -n ${MBOX_NAME-} && ${MBOX_PROMPT-} != off ]] || \builtin return 0
  __mbox_line=$(\command mbox "--root=$__mbox_root" gen notice -- "$MBOX_NAME" "${__mbox_seen-}" 2>/dev/null) ||
    \builtin return 0
  [[ -n $__mbox_line ]] || \builtin return 0
  if [[ ${MBOX_PROMPT-} != show ]]; then
    __mbox_seen=${__mbox_line%% *}
    \builtin printf '%s\n' "${__mbox_line#* }" >&2
    \builtin return 0
  fi
  # What a terminal does not show must not count as handed over.
  [[ -t 2 ]] || \builtin return 0
  {
    __mbox_line=$(\command mbox "--root=$__mbox_root" drain --format text --wait 0.2 -- "$MBOX_NAME" 2>&1 >&3) ||
      __mbox_code=$?
  } 3>&2
  # Busy: at the next prompt. Anything else is said once.
  [[ $__mbox_code != 75 ]] || \builtin return 0
  if [[ -n $__mbox_line && $__mbox_line != "${__mbox_said-}" ]]; then
    \builtin printf '%s\n' "$__mbox_line" >&2
  fi
  __mbox_said=$__mbox_line
}

# First in the line: what stands there may not end as a command does, and what
# measures how long a command took wants to be last. Whether it is an array
# does not matter, for its first element is the string. A read-only one stays.
__mbox_install() {
  case "${PROMPT_COMMAND[*]-} ${precmd_functions[*]-}" in *__mbox_prompt*) \builtin return 0 ;; esac
  if [[ -n ${bash_preexec_imported-}${__bp_imported-} ]]; then
    precmd_functions+=(__mbox_prompt)
    \builtin return 0
  fi
  if ((BASH_VERSINFO[0] > 4)) && [[ ${PROMPT_COMMAND[*]+"${PROMPT_COMMAND[*]@a}"} == *r* ]]; then
    \builtin return 0
  fi
  # shellcheck disable=SC2178 # the first element, as said
  PROMPT_COMMAND="__mbox_prompt \"\$_\"${PROMPT_COMMAND[0]:+;${PROMPT_COMMAND[0]}}"
}
__mbox_install
\builtin unset -f __mbox_install
