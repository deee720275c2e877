#compdef mbox
# Completion for zsh: mbox is asked at the tab, so what it offers is what the
# binary on PATH understands. Printed by `mbox gen completion zsh`, for a file
# `_mbox` in a directory of fpath, and part of `mbox init zsh`.

# The options here are those of the completion system.
__mbox_complete() {
  \builtin local line value
  \builtin local -a asked values shown
  # the words before the cursor, without their quotes
  asked=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
  for line in ${(f)"$(\command mbox gen words -- "${asked[@]}" 2>/dev/null)"}; do
    value=${line%%$'\t'*}
    values+=("$value")
    shown+=("${line/$'\t'/  -- }")
  done
  if (( ${#values} )); then
    compadd -l -V mbox -d shown -a values
  else
    _default
  fi
}

# A completion of yours stays.
__mbox_register() {
  \builtin emulate -L zsh
  precmd_functions=(${precmd_functions:#__mbox_register})
  if (( ${+functions[compdef]} )) && [[ -z ${_comps[mbox]-} ]]; then
    compdef __mbox_complete mbox
  fi
  \builtin unset -f __mbox_register
}

if [[ ${funcstack[1]-} == _mbox ]]; then
  \builtin unset -f __mbox_register
  __mbox_complete "$@"
elif (( ${+functions[compdef]} )); then
  __mbox_register
else
  # compinit may come later: at the first prompt
  \builtin typeset -ga precmd_functions
  [[ " ${(j: :)precmd_functions[@]} " == *' __mbox_register '* ]] || precmd_functions+=(__mbox_register)
fi
