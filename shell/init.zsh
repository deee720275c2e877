# mbox at the prompt of zsh. Printed by `mbox init zsh`.
#
# Idle, a prompt costs a few tests and no fork. Only names that begin with
# __mbox_ are made; precmd_functions is the one thing of yours that is added
# to. zsh itself gives $? and $_ back behind each of those functions.

__mbox_prompt() {
  \typeset __mbox_records="${MBOX_ROOT:-${XDG_STATE_HOME:-${HOME-}/.local/state}/mbox}/mailboxes/${MBOX_NAME-}.jsonl"
  if [[ -s $__mbox_records || -e $__mbox_records.claims ]]; then
    __mbox_mail
  elif [[ -n ${__mbox_seen-} ]]; then
    \typeset -g __mbox_seen=
  fi
}

# There is mail. mbox says what it told last time by a word that is given back
# to it, and nothing when no message has come since.
__mbox_mail() {
  \builtin emulate -L zsh
  \builtin local "__mbox_root=${__mbox_records%/mailboxes/*}" __mbox_line __mbox_code=0
  [[ -n ${MBOX_NAME-} && ${MBOX_PROMPT-} != off ]] || \builtin return 0
  __mbox_line=$(\command mbox "--root=$__mbox_root" gen notice -- "$MBOX_NAME" "${__mbox_seen-}" 2>/dev/null) ||
    \builtin return 0
  [[ -n $__mbox_line ]] || \builtin return 0
  if [[ ${MBOX_PROMPT-} != show ]]; then
    \builtin typeset -g "__mbox_seen=${__mbox_line%% *}"
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
  \builtin typeset -g "__mbox_said=$__mbox_line"
}

__mbox_install() {
  \builtin emulate -L zsh
  \builtin typeset -ga precmd_functions
  [[ " ${(j: :)precmd_functions} " == *' __mbox_prompt '* ]] || precmd_functions+=(__mbox_prompt)
}
__mbox_install
\builtin unset -f __mbox_install
