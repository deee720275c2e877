# shellcheck shell=bash
# Completion for bash, 3.2 and later: mbox is asked at the tab, so what it
# offers is what the binary on PATH understands. Printed by `mbox gen
# completion bash`, and part of `mbox init bash`.

__mbox_complete() {
  \builtin local IFS=$' \t\n' "__mbox_rest=$COMP_LINE" __mbox_word __mbox_cut
  \builtin local -i __mbox_i __mbox_n=-1
  \builtin local -a __mbox_words
  __mbox_words=()
  COMPREPLY=()
  # Bash cuts words at = and @, too; they belong together where no blank is between.
  for ((__mbox_i = 0; __mbox_i <= COMP_CWORD; __mbox_i++)); do
    __mbox_word=${COMP_WORDS[__mbox_i]}
    if [[ $__mbox_n -lt 0 || $__mbox_rest == [[:space:]]* ]]; then
      __mbox_n+=1
      __mbox_words[__mbox_n]=
    fi
    __mbox_rest=${__mbox_rest#*"$__mbox_word"}
    # of the last one, what stands before the cursor
    if [[ $__mbox_i -eq $COMP_CWORD && -n ${2-} && $__mbox_word == "$2"* ]]; then __mbox_word=$2; fi
    __mbox_words[__mbox_n]+=$__mbox_word
  done
  __mbox_cut=${__mbox_words[__mbox_n]%"${2-}"}
  while \builtin read -r __mbox_word; do
    __mbox_word=${__mbox_word%%$'\t'*}
    if [[ -n $__mbox_word ]]; then COMPREPLY+=("${__mbox_word#"$__mbox_cut"}"); fi
  done <<<"$(\command mbox gen words -- "${__mbox_words[@]:1}" 2>/dev/null)"
}
# With nothing to offer bash completes files. A completion of yours stays.
\builtin complete -p mbox >/dev/null 2>&1 ||
  \builtin complete -o bashdefault -o default -F __mbox_complete mbox 2>/dev/null || \builtin true
