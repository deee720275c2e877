# Completion for fish: mbox is asked at the tab, so what it offers is what the
# binary on PATH understands. Printed by `mbox gen completion fish`, for a file
# `mbox.fish` in ~/.config/fish/completions.

function __mbox_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l current (commandline --cut-at-cursor --current-token)
    set -l offers (command mbox gen words -- $words[2..-1] $current 2>/dev/null)
    if test (count $offers) -gt 0
        printf '%s\n' $offers
    else
        __fish_complete_path $current
    end
end

complete --command mbox --no-files --keep-order --arguments '(__mbox_complete)'
