# shellcheck shell=sh
# SC1007: `a= b=` empties both. SC2016: awk programs are not to be expanded.
# SC2015: `a && b || c` is used where c is for either failing.
# SC2209: `date` is a word here. SC2094: a file is looked at, then appended to.
# SC3047, SC3049: guarded, or misread as the name of a signal.
# shellcheck disable=SC1007,SC2015,SC2016,SC2209,SC2094,SC3047,SC3049
# mbox.sh - mailboxes made of plain files, in POSIX sh.
#
# Source it for the functions mbox_append, mbox_drain, mbox_peek, mbox_take,
# mbox_has, mbox_send, mbox_reply, mbox_acquire and mbox_release, or run it:
#
#     sh mbox.sh append inbox hello
#
# It is a peer without guard (M) of spec/protocol.md; the IDs in the comments
# (ACQ-4, DRAIN-2 ...) are those of that page, of spec/interface.md and of
# spec/delivery.md.
#
# How it is laid out: settings and awk programs, primitives (all that touches
# the system and that mbox.zsh replaces), names, lock, claims, the verbs, the
# command line, the public functions.
#
# Rules of the file (WORKAROUNDS.md has the reasons): no `local`, `command X`
# or `exec X` for every tool, printf only through __mbox_put, arithmetic never
# on more than nine digits, a status never ignored without saying why. Work is
# done in a subshell of its own, so options, traps, IFS and umask are free to
# use and the caller never sees them.

# In zsh the file reads itself again with sh's options, which then stick to
# the functions whatever the user has set.
if [ -n "${ZSH_VERSION-}" ] && [ -z "${__mbox_sticky-}" ]; then
  case ${ZSH_EVAL_CONTEXT-} in
    toplevel) emulate -R sh ;;
    *)
      eval '__mbox_self=${(%):-%x}'
      __mbox_sticky=1
      emulate -R sh -o no_aliases -c '. "$__mbox_self"'
      unset __mbox_sticky __mbox_self
      return 0
      ;;
  esac
fi

__mbox_nl='
'
__mbox_sink=cat
__mbox_d13='[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]'

# ---------------------------------------------------------------- awk programs

# Every test of a long string below is one anchored match and never a gsub: a
# match is linear in every awk, a gsub over 1 MiB is not.
__mbox_awk_utf8='
function utf8(s) {
  return s !~ /[\200-\377]/ || s ~ /^([\001-\177]|[\302-\337][\200-\277]|\340[\240-\277][\200-\277]|[\341-\354\356\357][\200-\277][\200-\277]|\355[\200-\237][\200-\277]|\360[\220-\277][\200-\277][\200-\277]|[\361-\363][\200-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277])*$/
}
'

# Text in a JSON string (MSG-2).
__mbox_awk_put='
function put(line,  i, c, k, n) {
  n = length(line)
  for (i = 1; i <= n; i += 512) {
    c = substr(line, i, 512)
    if (c ~ /["\\]/) gsub(/["\\]/, "\\\\&", c)
    if (c ~ /[\001-\037]/)
      for (k = 1; k < 32; k++) if (index(c, ctl[k])) gsub(ctl[k], esc[k], c)
    size += length(c)
    print c
  }
}
BEGIN {
  ORS = ""
  for (k = 1; k < 32; k++) { ctl[k] = sprintf("%c", k); esc[k] = sprintf("\\u%04x", k) }
  esc[8] = "\\b"; esc[9] = "\\t"; esc[10] = "\\n"; esc[12] = "\\f"; esc[13] = "\\r"
}
'

# One message out of a body. Input: the body, a newline, the line `nonce`, so
# that the lines before it joined by newlines are the body exactly, and an
# input cut short by an error shows. Exit: 100, 101 too large, 102 not UTF-8
# (a NUL arrives as \377), 103 the record would be too large.
__mbox_awk_encode=$__mbox_awk_utf8$__mbox_awk_put'
function take(line) {
  if (lines++) { bytes++; size += 2; print "\\n" }
  bytes += length(line)
  if (bytes > max) { code = 101; exit code }
  if (!utf8(line)) { code = 102; exit code }
  put(line)
}
BEGIN { print ENVIRON["__mbox_pre"] }
$0 == nonce { whole = 1; next }
{ if (held) take(last); last = $0; held = 1 }
END {
  if (code) exit code
  if (!whole) exit 99
  # stdin: less one trailing newline (APPEND-1)
  if (!(strip && last == "" && lines)) take(last)
  if (code) exit code
  tail = ENVIRON["__mbox_mid"] (bytes + 0) ENVIRON["__mbox_post"]
  if (length(ENVIRON["__mbox_pre"]) + size + length(tail) + 1 > 1048576) exit 103
  print tail "\n"
  exit 100
}
'

# Bytes out of the output of od -tx1.
__mbox_awk_hex='
BEGIN {
  ORS = ""
  for (i = 0; i < 256; i++) byte[sprintf("%02x", i)] = sprintf("%c", i)
}
{ for (i = 1; i <= NF; i++) print byte[$i] }
'

# JSON, and what a record says of itself. scan() goes through a line, with
# `depth` and `want` what came before it, and remembers where in it the strings
# are that are members of the outermost object and among `wanted`, and what
# other values these have. parse() decides whether a line is a record ("Damaged
# lines").
__mbox_awk_json=$__mbox_awk_utf8'
function step(t) {   # one token outside strings; t is "s" for a string
  if (t == "s") {
    if (want == "k" || want == "K") want = ":"
    else if (want == "v" || want == "V") want = "e"
    else return 0
    return 1
  }
  if (t == ",") { if (want != "e") return 0; want = open[depth] == "{" ? "k" : "v"; return 1 }
  if (t == ":") { if (want != ":") return 0; want = "v"; return 1 }
  if (t == "{" || t == "[") {
    if (want == "o" ? t == "[" : want != "v" && want != "V") return 0
    if (depth == 1 && key in wanted) kind[key] = t
    if (++depth > deepest) return 0
    open[depth] = t; want = t == "{" ? "K" : "V"; return 1
  }
  if (t == "}" || t == "]") {
    if (want != "e" && want != (t == "}" ? "K" : "V")) return 0
    if (open[depth] != (t == "}" ? "{" : "[")) return 0
    want = --depth ? "e" : "d"; return 1
  }
  if (want != "v" && want != "V") return 0
  if (depth == 1 && key in wanted) kind[key] = t
  want = "e"
  return t ~ /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)$/
}
function outside(s,  n, i, c) {   # a piece between strings, 256 bytes at a time
  n = length(s); i = 1
  while (i <= n) {
    c = substr(s, i, 256)
    # do not cut a number in two
    if (i + 256 <= n && match(c, /[^][{}:, \t\r]+$/)) {
      if (RSTART > 1) c = substr(c, 1, RSTART - 1)
      else { c = substr(s, i); match(c, /^[^][{}:, \t\r]+/); c = substr(c, 1, RLENGTH) }
    }
    i += length(c)
    while (match(c, /[][{}:,]|[^][{}:, \t\r]+/)) {
      if (!step(substr(c, RSTART, RLENGTH))) return 0
      c = substr(c, RSTART + RLENGTH)
    }
  }
  return 1
}
function parse(s) {
  if (!utf8(s)) return 0
  depth = 0; want = "o"
  return scan(s) && want == "d"
}
function scan(s,  n, i, t, pos, start, instr, pieces) {
  split("", at)
  n = split(s, piece, "\"")
  pos = 1
  for (i = 1; i <= n; i++) {
    t = piece[i]
    if (!instr) {
      if (t == ":" && want == ":") want = "v"
      else if (t == "," && want == "e") want = open[depth] == "{" ? "k" : "v"
      else if (!outside(t)) return 0
      if (i < n) { instr = 1; pieces = 0; start = pos + length(t) + 1 }
    } else {
      pieces++
      if (t ~ /^([^\\\001-\037]|\\["\\\/bfnrt]|\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*$/) {
        if (i == n) return 0
        instr = 0
        if (depth == 1) {
          if (want == "k" || want == "K") {
            key = pieces == 1 && length(t) < 200 ? unescape(t) : ""
            if (key in at) delete at[key]
          } else if (key in wanted) {
            at[key] = start; len[key] = pos + length(t) - start; kind[key] = "s"
          }
        }
        if (!step("s")) return 0
      } else if (i == n || t !~ /^([^\\\001-\037]|\\["\\\/bfnrt]|\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*\\$/) return 0
    }
    pos += length(t) + 1
  }
  return !instr
}
function utf8char(n) {
  if (n < 128) return sprintf("%c", n)
  if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
  if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
  return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64, 128 + n % 64)
}
function hex4(s,  i, n) {
  for (i = 1; i <= 4; i++) n = n * 16 + index("0123456789abcdef", tolower(substr(s, i, 1))) - 1
  return n
}
function out(s) {   # where unescaped text goes: together, to people, or out
  if (gather) { all += length(s); if (length(gathered) < gather) gathered = gathered s }
  else if (format == "text") shown(s)
  else print s
}
function shown(s,  n, i, c, t, k, w) {   # FMT-3
  if (s !~ /[\001-\010\013-\037\177]|\302[\200-\237]|\342\200[\252-\256]|\342\201[\246-\251]/) { print s; return }
  n = length(s); i = 1
  while (i <= n) {
    w = 256
    while (i + w <= n && substr(s, i + w, 1) ~ /[\200-\277]/) w++
    c = substr(s, i, w); i += w
    while (match(c, /[\001-\010\013-\037\177]|\302[\200-\237]|\342\200[\252-\256]|\342\201[\246-\251]/)) {
      print substr(c, 1, RSTART - 1)
      t = substr(c, RSTART, RLENGTH); c = substr(c, RSTART + RLENGTH)
      if (RLENGTH == 1) k = ord[t]
      else if (RLENGTH == 2) k = ord[substr(t, 2, 1)]
      else k = 8192 + (ord[substr(t, 2, 1)] - 128) * 64 + ord[substr(t, 3, 1)] - 128
      print sprintf("\\u%04x", k)
    }
    print c
  }
}
function decode(s,  n, i, t, c, k, l) {   # unescape a JSON string, piece by piece
  n = split(s, part, "\\")
  if (n) out(part[1])
  for (i = 2; i <= n; i++) {
    t = part[i]
    if (t == "") { out("\\"); out(part[++i]); continue }
    c = substr(t, 1, 1)
    if (c != "u") { out(simple[c]); out(substr(t, 2)); continue }
    k = hex4(substr(t, 2, 4))
    if (k >= 55296 && k < 56320 && length(t) == 5 && part[i + 1] ~ /^u[dD][c-fC-F]/) {
      l = hex4(substr(part[i + 1], 2, 4))
      out(utf8char(65536 + (k - 55296) * 1024 + l - 56320))
      out(substr(part[++i], 6)); continue
    }
    if (!k || (k >= 55296 && k < 57344)) k = 65533     # FMT-2
    out(utf8char(k)); out(substr(t, 6))
  }
}
function unescape(s) {
  if (!index(s, "\\")) return s
  collect(s, 2097152)
  return gathered
}
function collect(s, most) {   # gathered: s unescaped, the first `most` bytes or more; all: how many there are
  gather = most; gathered = ""; all = 0
  decode(s)
  gather = 0
}
function member(s, k) { return substr(s, at[k], len[k]) }
function matches(s, k, e) {
  return !(e in ENVIRON) || ((k in at) && unescape(member(s, k)) "" == ENVIRON[e] "")
}
function named(s, k,  v) {   # the member k, when it is written as NAME-2 says
  if (!(k in at)) return ""
  v = unescape(member(s, k))
  return v ~ /[^A-Za-z0-9._@+-]/ || v ~ /^[.-]/ || length(v) > 128 ? "" : v
}
function dropped(s,  k) {   # DRAIN-7
  if (!("id" in at)) return 0
  k = unescape(member(s, "id"))
  if (length(k) != 16 || k ~ /[^0-9a-f]/) return 0
  if (k in seen) return 1
  if (++handed > 65536) delete seen[ring[handed % 65536]]
  ring[handed % 65536] = k; seen[k] = 1
  return 0
}
BEGIN {
  ORS = ""
  for (k = 1; k < 256; k++) ord[sprintf("%c", k)] = k
  simple["\""] = "\""; simple["/"] = "/"; simple["b"] = "\010"; simple["f"] = "\014"
  simple["n"] = "\n"; simple["r"] = "\r"; simple["t"] = "\t"
  deepest = 128
  wanted["id"]; wanted["body"]; wanted["reply_to"]; wanted["from_session_id"]; wanted["request_id"]
}
'

# Everything that reads records. The input ends with the line `nonce`; without
# it something could not be read: exit 99. Otherwise exit 100, plus 1 when a
# record was chosen, plus 2 when a line was damaged. 98: a bad line of
# `append --raw`.
__mbox_awk_records=$__mbox_awk_json'
function choose(s,  n) {   # 1 chosen, 0 stays, 2 the repetition of a chosen one
  if (picking == "first") {
    if (closed || !matches(s, "id", "__mbox_q_id") || !matches(s, "reply_to", "__mbox_q_reply_to") || !matches(s, "from_session_id", "__mbox_q_from")) return 0
    return closed = 1
  }
  if (closed) return 0
  if (dropped(s)) return 2
  n = length(s) + 1
  if (max && count >= max || maxbytes && bytes + n > maxbytes) {
    closed = 1; if (!count) needs = n
    return 0
  }
  count++; bytes += n
  return 1
}
function emit(s) {
  some = 1
  if (format == "jsonl" || format != "text" && !("body" in at)) { print s "\n"; return }
  if (format == "text") {
    if ("from_session_id" in at) { decode(member(s, "from_session_id")); print ": " }
    if (!("body" in at)) { shown(s); print "\n"; return }
  }
  decode(member(s, "body")); print "\n"
}
function refuse(why) { print "line " NR " of stdin " why "\n" | "cat >&3"; bad = 1; exit }
$0 == nonce { whole = 1; next }
index($0, nonce " birth ") == 1 { birth = substr($0, length(nonce) + 8); next }
$0 == nonce " again" { kept = some = 0; split("", seen); split("", ring); handed = 0; next }
/^[ \t\r]*$/ { next }
# found already, or not in this line however it is escaped
mode == "find" && (some || !index($0, seek) && !index($0, "\\u")) { next }
mode == "raw" {
  if (length($0) + 1 > 1048576) refuse("is longer than 1048576 bytes")
  if (!parse($0)) refuse("is not one JSON object in UTF-8")
  some = 1; print $0 "\n"; next
}
!parse($0) {
  broken = 1
  if (mode == "damaged") {
    if (NR == upto + 1 && upto) upto = NR
    else { if (upto) print from " " upto - from + 1 " " size "\n"; from = upto = NR; size = 0 }
    size += length($0) + 1
  }
  next
}
mode == "drain" { if (!dropped($0)) emit($0); next }
mode == "peek" {
  if (dropped($0)) next
  if ("__mbox_q_since" in ENVIRON && matches($0, "id", "__mbox_q_since")) { kept = 0; next }
  keep[++kept] = $0; next
}
mode == "ids" { if ("id" in at) print unescape(member($0, "id")) "\n"; next }
mode == "damaged" { next }
mode == "count" { if (!dropped($0)) count++; next }
mode == "find" {
  if (("id" in at) && unescape(member($0, "id")) "" == seek "") {
    some = 1; found = named($0, "from_session_id") " " named($0, "request_id")
  }
  next
}
{
  k = choose($0)
  if (k == 1) { some = 1; if (mode == "birth") { if (!birthsaid++) print birth } }
  if (k == 1 && mode == "chosen" || !k && mode == "rest") print $0 "\n"
}
END {
  if (bad) { close("cat >&3"); exit 98 }
  if (!whole) exit 99
  if (upto) print from " " upto - from + 1 " " size "\n"
  if (mode == "peek")
    for (k = 1; k <= kept && (!max || k <= max); k++) { if (format != "jsonl") parse(keep[k]); emit(keep[k]) }
  if (mode == "look" && !count && needs) print needs
  if (mode == "count") print count + 0
  if (mode == "find" && some) print found "\n"
  exit 100 + some + 2 * broken
}
'

# ------------------------------------------------------------------ primitives

# mksh has no builtin printf, and 100 kB do not fit an argument list. ksh93
# keeps what it could not write and writes it to the next file: not so on a
# descriptor that is closed in between.
case ${KSH_VERSION-} in
  *MIRBSD*|*LEGACY*) __mbox_put() { command print -r -- "$1"; } ;;
  ?*) __mbox_put() { { command print -r -u3 -- "$1"; } 3>&1; } ;;
  *) __mbox_put() { command printf '%s\n' "$1"; } ;;
esac

# For people, on stderr; then the status, so that `__mbox_fail 74 ...; return`
# says and passes it on.
__mbox_say() { __mbox_put "mbox: $1" >&2; }
__mbox_fail() {
  __mbox_say "$2"
  return "$1"
}

__mbox_unreadable() {
  __mbox_rc=74
  for __mbox_f in "$__mbox_B" "$__mbox_C" "$__mbox_C"/*; do
    [ ! -e "$__mbox_f" ] || [ -r "$__mbox_f" ] || __mbox_rc=77
  done
  __mbox_fail "$__mbox_rc" "cannot read $__mbox_B or its claims, where the mail stays; see their permissions"
}

# The status for the error text of a tool.
__mbox_code() {
  case $__mbox_err in
    *[Pp]ermission*|*'not permitted'*|*[Rr]ead-only*) return 77 ;;
  esac
  return 74
}

# Runs a tool with its complaint in __mbox_err. The tool does not see the
# terminal's Ctrl-C: a mkdir killed half way would leave us guessing, while
# the shell itself only notes the signal (CLI-6).
__mbox_run() {
  __mbox_err=$(
    command trap '' INT TERM HUP
    exec "$@" 2>&1
  )
}

# 0 made, 1 there already, 2 anything else.
__mbox_mkdir() {
  __mbox_run mkdir -- "$1" && return 0
  case $__mbox_err in *[Ff]'ile exists'*) return 1 ;; esac
  return 2
}
__mbox_mkdirs() { __mbox_run mkdir -p -- "$1"; }
__mbox_rmdir() { __mbox_run rmdir -- "$1"; }
__mbox_unlink() { __mbox_run rm -f -- "$@"; }
# A mv that was killed may have done it all the same; no two names of ours are alike.
__mbox_rename() { __mbox_run mv -f -- "$1" "$2" || { [ ! -e "$1" ] && [ -e "$2" ]; }; }
__mbox_remove_tree() { __mbox_run rm -rf -- "$1"; }

# __mbox_s: unix seconds. __mbox_ms: three digits of milliseconds.
# EPOCHREALTIME counts only when it moves: a shell that does not know it may
# have inherited a constant of that name.
__mbox_now() {
  if [ "$__mbox_clock" = live ]; then
    __mbox_s=$EPOCHREALTIME
    __mbox_ms=${__mbox_s##*[!0-9]}000
    __mbox_ms=${__mbox_ms%"${__mbox_ms#???}"}
    __mbox_s=${__mbox_s%%[!0-9]*}
    return
  fi
  __mbox_s=$(exec date +%s%3N) || __mbox_s=
  case $__mbox_s in
    *[!0-9]*|'') __mbox_s=$(exec date +%s)000 ;;
  esac
  while [ "${#__mbox_s}" -gt 13 ]; do __mbox_s=${__mbox_s%?}; done
  __mbox_ms=${__mbox_s#??????????}
  __mbox_s=${__mbox_s%???}
}
__mbox_find_clock() {
  __mbox_clock=date
  [ -n "${EPOCHREALTIME-}" ] || return 0
  for __mbox_x in 1 2 3 4 5; do
    __mbox_y=$EPOCHREALTIME
    if [ "$__mbox_y" != "$EPOCHREALTIME" ]; then
      __mbox_clock=live
      return 0
    fi
  done
}

# __mbox_x: 16 random hex digits, never out of RANDOM, which repeats itself in
# subshells.
__mbox_hex() {
  if [ -z "$__mbox_pool" ]; then
    case ${BASH_VERSION-} in
      5.[1-9]*|[6-9].*|[1-9][0-9].*)
        if [ "${SRANDOM-}" != "${SRANDOM-}" ]; then
          eval 'command printf -v __mbox_x %08x%08x "$SRANDOM" "$SRANDOM"'
          return 0
        fi
        ;;
    esac
    # shellcheck disable=SC2046 # words are what is wanted
    set -- $(exec od -An -N32 -tx4 /dev/urandom)
    if [ $# -ne 8 ]; then
      __mbox_fail 74 "cannot read /dev/urandom; see whether it is there and od works"
      return
    fi
    __mbox_pool="$1$2 $3$4 $5$6 $7$8"
  fi
  __mbox_x=${__mbox_pool%% *}
  case $__mbox_pool in
    *' '*) __mbox_pool=${__mbox_pool#* } ;;
    *) __mbox_pool= ;;
  esac
}

# Sleeps 0.$1 seconds; a sleep that only knows whole seconds takes one.
__mbox_sleep() { __mbox_run sleep "0.$1" || __mbox_run sleep 1; }

# Creates the file $1 exclusively with the line $2, or empty (ACQ-4, FILE-5).
# 0 done, 1 could not be made, 2 made but not written. The error output is
# redirected outside: zsh complains before a redirection beside it.
__mbox_create() {
  __mbox_opened= __mbox_bad=
  set -C
  {
    {
      __mbox_opened=1
      [ -z "$2" ] || __mbox_put "$2" || __mbox_bad=1
    } >"$1"
  } 2>/dev/null
  set +C
  [ -n "$__mbox_opened" ] || return 1
  [ -z "$__mbox_bad" ] || return 2
}

# Appends the text $2 and a newline to the file $1, in one write(2) when it is
# short. 0 done, 1 could not be opened, 2 not all written.
__mbox_add() {
  __mbox_opened= __mbox_bad=
  {
    {
      __mbox_opened=1
      __mbox_put "$2" || __mbox_bad=1
    } >>"$1"
  } 2>/dev/null
  [ -n "$__mbox_opened" ] || return 1
  [ -z "$__mbox_bad" ] || return 2
}
# The same with the content of the file $2: one write(2) whatever its size,
# where printf would make one of each buffer.
__mbox_add_file() {
  __mbox_err=$(
    command trap '' INT TERM HUP
    exec dd bs=16777216 2>&1 <"$2" >>"$1"
  )
}

# lstat: __mbox_mtime in seconds, __mbox_id as fine as the tool gives it.
__mbox_stat() {
  if [ "$__mbox_stat" != bsd ]; then
    __mbox_x=$(exec stat -c '%Y %i %y' -- "$1" 2>/dev/null) && __mbox_stat=gnu
  fi
  if [ "$__mbox_stat" != gnu ]; then
    __mbox_x=$(exec stat -f '%m %i %Fm' -- "$1" 2>/dev/null) && __mbox_stat=bsd
  fi
  case $__mbox_x in [-0-9]*) ;; *) return 1 ;; esac
  __mbox_mtime=${__mbox_x%% *}
  __mbox_id=$__mbox_x
}

# Whether one of the directories is writable by others. -prune: not below.
__mbox_others_write() {
  [ -n "$(exec find "$@" -prune -perm -2 -print 2>/dev/null)" ]
}

# __mbox_whole: the file $1, in bash, where it is short and has no NUL: what
# others need forks for to see its end. Without the NUL that is its delimiter,
# read fails at the end of the file and nowhere before.
__mbox_read_whole() {
  [ -n "${BASH_VERSION-}" ] && [ "$__mbox_long" != "$1" ] || return
  __mbox_whole=
  if { IFS= command read -r -d '' -n 32768 __mbox_whole <"$1"; } 2>/dev/null; then
    __mbox_long=$1
    return 1
  fi
  [ -n "$__mbox_whole" ]
}

# Whether a file ends in a newline. read says so itself, and a NUL, which no
# shell can hold, cannot pass for one.
__mbox_ends_line() {
  if __mbox_read_whole "$1"; then
    case $__mbox_whole in *"$__mbox_nl") return 0 ;; esac
    return 1
  fi
  command tail -c 1 -- "$1" 2>/dev/null | command read -r __mbox_byte 2>/dev/null
}

# __mbox_x: the last $2 bytes of the file $1, less trailing newlines. Fails when
# they cannot be read.
__mbox_tail() {
  if __mbox_read_whole "$1"; then
    __mbox_x=0
    [ "${#__mbox_whole}" -le "$2" ] || __mbox_x=$((${#__mbox_whole} - $2))
    eval '__mbox_x=${__mbox_whole:__mbox_x}'
    while :; do
      case $__mbox_x in *"$__mbox_nl") __mbox_x=${__mbox_x%"$__mbox_nl"} ;; *) return 0 ;; esac
    done
  fi
  __mbox_x=$(exec tail -c "$2" -- "$1" 2>/dev/null)
}

# Whether the numbers $1 and $2 are more than $3 apart. Ten digits do not fit
# the 32 bits of mksh, so the first one is looked at apart.
__mbox_far() {
  case $1$2 in *[!0-9]*) return 0 ;; esac
  __mbox_x=$1 __mbox_y=$2
  while [ "${#__mbox_x}" -lt 10 ]; do __mbox_x=0$__mbox_x; done
  while [ "${#__mbox_y}" -lt 10 ]; do __mbox_y=0$__mbox_y; done
  [ "${#__mbox_x}${#__mbox_y}" = 1010 ] || return 0
  __mbox_z=$((${__mbox_x%"${__mbox_x#?}"} - ${__mbox_y%"${__mbox_y#?}"}))
  case $__mbox_z in 0|1|-1) ;; *) return 0 ;; esac
  # a leading 1 keeps the rest from being read as octal
  __mbox_z=$((__mbox_z * 1000000000 + 1${__mbox_x#?} - 1${__mbox_y#?}))
  [ "$__mbox_z" -gt "$3" ] || [ "$__mbox_z" -lt "-$3" ]
}

# __mbox_birth: the later of now and one after $1, 13 digits (CLAIM-2).
__mbox_after() {
  __mbox_birth=$__mbox_s$__mbox_ms
  __mbox_x=1${__mbox_birth%??????} __mbox_y=1${1%??????}
  if [ "$__mbox_x" -gt "$__mbox_y" ]; then return; fi
  if [ "$__mbox_x" -eq "$__mbox_y" ] && [ "1${__mbox_birth#???????}" -gt "1${1#???????}" ]; then return; fi
  __mbox_birth=$1
  [ "$1" != 9999999999999 ] || return 0
  __mbox_x=$((1${1#???????} + 1))
  [ "$__mbox_x" -lt 2000000 ] || __mbox_x=1000000 __mbox_y=$((__mbox_y + 1))
  __mbox_birth=${__mbox_y#1}${__mbox_x#1}
}

# feed | awk | stdout, with every status looked at: the feed ends with a line
# only we know, awk's status comes back on fd 3, and cat does the writing,
# because busybox awk and mawk do not notice a write that failed.
# $1 feed, $2 awk program, the rest -v settings. __mbox_got is awk's status;
# fails (74) when the output could not be written.
__mbox_pipe() {
  {
    __mbox_err=$(
      __mbox_feed=$1 __mbox_program=$2
      shift 2
      export __mbox_pre __mbox_mid __mbox_post
      # shellcheck disable=SC2086 # a command and its options
      {
        "$__mbox_feed" 2>/dev/null 3>&- 4>&- | command tr '\000' '\377' 2>/dev/null 3>&- 4>&- | {
          command awk -v nonce="$__mbox_nonce" "$@" "$__mbox_program" 2>/dev/null 4>&-
          __mbox_put "awk $?" >&3
        } | command $__mbox_sink 2>&3 >&4
      } 3>&1
    )
    __mbox_wrote=$?
  } 4>&1
  case $__mbox_err in
    *'awk '[0-9]*) __mbox_got=${__mbox_err##*awk } __mbox_got=${__mbox_got%%[!0-9]*} ;;
    *) __mbox_got=1 ;;
  esac
  [ "$__mbox_wrote" -eq 0 ] && return 0
  case $__mbox_err in
    # EXIT-2: a closed stdout is quiet, however it was closed
    *[Bb]'roken pipe'*|*[Bb]'ad file desc'*) __mbox_err= ;;
    *)
      __mbox_err=${__mbox_err#*awk [0-9]*"$__mbox_nl"}
      __mbox_err=${__mbox_err%%"$__mbox_nl"*}
      # no complaint: killed by SIGPIPE or by hand, which is quiet as well
      case $__mbox_err in 'awk '*) __mbox_err= ;; esac
      ;;
  esac
  return 74
}
__mbox_nonce() {
  [ -z "$__mbox_nonce" ] || return 0
  __mbox_hex || return
  __mbox_nonce=:$__mbox_x:
}

# Prints a line that is an answer. EXIT-2: a stdout that is closed, or a pipe
# nobody reads, is quiet.
__mbox_answer() {
  # zsh reports no error there
  [ -z "$__mbox_closed" ] && __mbox_put "$1" 2>/dev/null && return 0
  [ -n "$__mbox_closed" ] || [ -p /dev/fd/1 ] || [ -S /dev/fd/1 ] ||
    __mbox_say "cannot write to stdout; see whether its disk is full"
  return 74
}

# ---------------------------------------------------------- addresses, places

# MAILBOX -> __mbox_B and the paths beside it; with `received` behind it, those
# of the ledger of that name. Builtins only: mbox_has too.
__mbox_locate() {
  __mbox_place=${2-mailboxes}
  case $1 in
    */*)                                                          # NAME-1
      __mbox_root=
      __mbox_B=$1
      ;;
    ''|[.-]*|*[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-]*)
      __mbox_fail 2 "not a mailbox name: '$1' (letters, digits and ._@+- only, not beginning with . or -; a path has a /)"
      return
      ;;
    *)                                                            # NAME-2
      if [ "${#1}" -gt 128 ]; then
        __mbox_fail 2 "a mailbox name has at most 128 bytes: '$1'"
        return
      fi
      if [ -n "${__mbox_o_root-}" ]; then __mbox_root=$__mbox_o_root  # ROOT-1
      elif [ -n "${MBOX_ROOT-}" ]; then __mbox_root=$MBOX_ROOT
      elif [ -n "${XDG_STATE_HOME-}" ]; then __mbox_root=$XDG_STATE_HOME/mbox
      elif [ -n "${HOME-}" ]; then __mbox_root=$HOME/.local/state/mbox
      else
        __mbox_fail 2 "no place for mailboxes: give --root DIR or set MBOX_ROOT or HOME"
        return
      fi
      while :; do
        case $__mbox_root in
          ?*/) __mbox_root=${__mbox_root%/} ;;
          -*) __mbox_root=./$__mbox_root ;;
          *) break ;;
        esac
      done
      __mbox_B=$__mbox_root/$__mbox_place/$1.jsonl                    # ROOT-2
      ;;
  esac
  case $__mbox_B in -*) __mbox_B=./$__mbox_B ;; esac
  __mbox_D=$__mbox_B.lock
  __mbox_O=$__mbox_B.lock.owner
  __mbox_S=$__mbox_B.lock.steal
  __mbox_C=$__mbox_B.claims
}

# What is not seen may be there, where a directory on the way cannot be searched.
__mbox_searchable() {
  __mbox_x=$__mbox_B
  while :; do
    case $__mbox_x in
      /*/*|[!/]*/*) __mbox_x=${__mbox_x%/*} ;;
      /*) __mbox_x=/; break ;;
      *) __mbox_x=.; break ;;
    esac
    [ ! -e "$__mbox_x" ] || break
  done
  ! [ -d "$__mbox_x" ] || [ -x "$__mbox_x" ] ||
    __mbox_fail 77 "cannot look for $__mbox_B: no permission to search $__mbox_x; see who owns it"
}

# ROOT-4, PLACE-1, as far as builtins see.
__mbox_root_owned() {
  [ -n "$__mbox_root" ] || return 0
  for __mbox_x in "$__mbox_root" "$__mbox_root/$__mbox_place"; do
    if [ -h "$__mbox_x" ]; then
      __mbox_fail 77 "refused: $__mbox_x is a symbolic link; give the directory itself as the root"
      return
    fi
    [ -e "$__mbox_x" ] || return 0
    if ! [ -d "$__mbox_x" ]; then
      __mbox_fail 77 "refused: $__mbox_x is not a directory; move it away or use another --root"
      return
    fi
    if ! [ -O "$__mbox_x" ]; then
      __mbox_fail 77 "refused: $__mbox_x belongs to another user; use a root of your own"
      return
    fi
  done
}
__mbox_root_safe() {
  __mbox_root_owned || return
  [ -n "$__mbox_root" ] && [ -d "$__mbox_root" ] || return 0
  if __mbox_others_write "$__mbox_root" "$__mbox_root/$__mbox_place"; then
    __mbox_fail 77 "refused: $__mbox_root or $__mbox_place in it is writable by others; chmod o-w it"
  fi
}

# ROOT-3: only for verbs that write.
__mbox_root_make() {
  [ -n "$__mbox_root" ] && ! [ -d "$__mbox_root/$__mbox_place" ] || return 0
  __mbox_mkdirs "$__mbox_root/$__mbox_place" && return 0
  __mbox_code || __mbox_fail $? "cannot make $__mbox_root/$__mbox_place: $__mbox_err; check the path or give another --root"
}

# FILE-2, FILE-3. Asked before anything is opened, so nothing can hang. Each
# test finds something bad by itself: "there, but no directory" asked in two
# tests is also true of a directory removed in between.
__mbox_special() { [ -h "$1" ] || [ -p "$1" ] || [ -S "$1" ] || [ -c "$1" ] || [ -b "$1" ]; }
__mbox_files_safe() {
  for __mbox_x do
    if __mbox_special "$__mbox_x" || [ -d "$__mbox_x" ]; then
      __mbox_fail 77 "refused: $__mbox_x is not a regular file; see what it is and move it away"
      return
    fi
  done
}
__mbox_dirs_safe() {
  for __mbox_x do
    if __mbox_special "$__mbox_x" || [ -f "$__mbox_x" ]; then
      __mbox_fail 77 "refused: $__mbox_x is not a directory; see what it is and move it away"
      return
    fi
  done
}
__mbox_claims_safe() {
  __mbox_dirs_safe "$__mbox_C" || return
  # twice, because readers make and remove it
  for __mbox_x in 1 2; do
    if [ -r "$__mbox_C" ] && [ -x "$__mbox_C" ] || ! [ -d "$__mbox_C" ]; then return 0; fi
  done
  __mbox_fail 77 "cannot read the directory $__mbox_C; see its permissions"
}
__mbox_lock_safe() {
  __mbox_files_safe "$__mbox_B" "$__mbox_O" "$__mbox_B.lock.guard" && __mbox_dirs_safe "$__mbox_D" "$__mbox_S"
}

# ------------------------------------------------------------------------ lock

# __mbox_obs: what O says, less one newline; fails when there is no O.
__mbox_read_owner() {
  __mbox_obs=
  [ -f "$__mbox_O" ] && ! [ -h "$__mbox_O" ] || return 1
  {
    {
      IFS= command read -r __mbox_obs
      IFS= command read -r __mbox_x && __mbox_obs=$__mbox_obs$__mbox_nl$__mbox_x
    } <"$__mbox_O"
  } 2>/dev/null
  [ -n "$__mbox_obs" ] || [ -e "$__mbox_O" ]
}

# --wait from now; with a number, not longer than so many seconds.
__mbox_deadline() {
  __mbox_now
  __mbox_x=$__mbox_o_wait_s __mbox_y=1${__mbox_o_wait_ms:-000}
  [ $# -eq 0 ] || [ "$__mbox_x" -lt "$1" ] || __mbox_x=$1 __mbox_y=1000
  __mbox_end_s=$((__mbox_s + __mbox_x)) __mbox_x=$((__mbox_y - 1000 + 1$__mbox_ms))
  __mbox_end_ms=$((__mbox_x - 1000))
  [ "$__mbox_end_ms" -lt 1000 ] || __mbox_end_s=$((__mbox_end_s + 1)) __mbox_end_ms=$((__mbox_end_ms - 1000))
}
__mbox_late() {
  __mbox_now
  [ "$__mbox_s" -gt "$__mbox_end_s" ] ||
    { [ "$__mbox_s" -eq "$__mbox_end_s" ] && [ "1$__mbox_ms" -ge "$((1000 + __mbox_end_ms))" ]; }
}

# ACQ-6: exponential, 1 to 10 ms, with jitter; the deadline is wall clock.
__mbox_nap() {
  [ "$__mbox_naps" -gt 6 ] || __mbox_reach=$((10 << (__mbox_naps / 2)))
  [ "$__mbox_reach" -le 100 ] || __mbox_reach=100
  __mbox_naps=$((__mbox_naps + 1))
  __mbox_jitter=$(((__mbox_jitter * 109 + $$ % 1000 + 89) % 1024))
  __mbox_x=$((1000 + __mbox_reach / 2 + __mbox_jitter * __mbox_reach / 2048))
  __mbox_sleep "0${__mbox_x#1}"
}

# Acquire. 0: __mbox_token holds the lock. 75: not in time, or a signal came.
__mbox_acquire() {
  __mbox_hex || return
  __mbox_token=$$.$__mbox_x                                         # TOKEN-1
  __mbox_naps=0 __mbox_reach=10
  while :; do
    [ -z "$__mbox_signal" ] || return 75
    __mbox_lock_safe || return
    if ! [ -d "$__mbox_D" ]; then
      __mbox_mkdir "$__mbox_D"                                        # ACQ-3
      case $? in
        0)
          __mbox_publish
          case $? in 0) return 0 ;; 1) ;; *) return 74 ;; esac
          ;;
        1) ;;
        *)
          __mbox_code || __mbox_fail $? "cannot make the lock $__mbox_D: $__mbox_err; see that its directory exists and is writable"
          return
          ;;
      esac
    fi
    # Judging costs a fork: at first, then about five times a second.
    if [ $((__mbox_naps % 16)) -eq 0 ]; then
      __mbox_recover
      case $? in 0) __mbox_naps=$((__mbox_naps + 1)); continue ;; 1) ;; *) return 74 ;; esac
    fi
    if __mbox_late; then
      __mbox_busy
      return 75
    fi
    __mbox_nap
  done
}

# ACQ-4, ACQ-5. 0 published, 1 O is another's, 2 failed and undone.
__mbox_publish() {
  for __mbox_try in 1 2; do
    __mbox_create "$__mbox_O" "$__mbox_token"
    case $? in
      0) return 0 ;;
      2)
        # ours, and empty: a full disk
        __mbox_unlink "$__mbox_O" && __mbox_rmdir "$__mbox_D"
        __mbox_fail 74 "cannot write $__mbox_O; see whether the disk is full"
        return 2
        ;;
    esac
    if [ -e "$__mbox_O" ] || [ -h "$__mbox_O" ]; then return 1; fi
    # Not there now: it was removed this moment, or it cannot be made at all.
  done
  __mbox_rmdir "$__mbox_D"
  __mbox_fail 74 "cannot make $__mbox_O; see whether the disk is full or files are limited"
  return 2
}

# Recover. 0: try the gate at once; 1: wait; 2: failed.
__mbox_recover() {
  # Observe
  __mbox_had=
  __mbox_read_owner && __mbox_had=1
  __mbox_seen=$__mbox_obs
  __mbox_stat "$__mbox_D" || return 0
  __mbox_seen_id=$__mbox_id
  # Judge (b), the only case without guard; REC-1, REC-5
  __mbox_now
  __mbox_far "$__mbox_mtime" "$__mbox_s" 30 || return 1
  # Mark
  __mbox_mkdir "$__mbox_S"
  case $? in
    0) ;;
    1)
      # REC-4
      if __mbox_stat "$__mbox_S" && __mbox_far "$__mbox_mtime" "$__mbox_s" 30; then
        __mbox_rmdir "$__mbox_S" || [ ! -d "$__mbox_S" ] || __mbox_remove_tree "$__mbox_S"
        __mbox_naps=-1   # judge again after one nap
      fi
      return 1
      ;;
    *)
      __mbox_fail 2 "cannot make $__mbox_S to clear the stale lock $__mbox_D: $__mbox_err; see that its directory is writable"
      return
      ;;
  esac
  # Compare (REC-2)
  __mbox_same=
  if __mbox_read_owner; then
    [ -n "$__mbox_had" ] && [ "$__mbox_obs" = "$__mbox_seen" ] && __mbox_same=1
  else
    [ -n "$__mbox_had" ] || __mbox_same=1
  fi
  if [ -n "$__mbox_same" ] && __mbox_stat "$__mbox_D" && [ "$__mbox_id" = "$__mbox_seen_id" ]; then
    # Clear
    # an O that cannot be removed keeps its D, whose age is all there is to go by
    if [ -z "$__mbox_had" ] || __mbox_unlink "$__mbox_O"; then
      __mbox_rmdir "$__mbox_D" || [ ! -d "$__mbox_D" ] || __mbox_remove_tree "$__mbox_D"  # REC-3
    fi
    # Settle (REC-6)
    __mbox_sleep 5
  fi
  # Unmark
  __mbox_rmdir "$__mbox_S"
  return 0
}

__mbox_busy() {
  __mbox_who='somebody' __mbox_x=
  if __mbox_read_owner; then
    __mbox_who="pid ${__mbox_obs%%.*} (token $__mbox_obs)"
  fi
  if __mbox_stat "$__mbox_D"; then
    __mbox_now
    case $__mbox_mtime in
      *[!0-9]*|???????????*) ;;
      *) __mbox_x=" for $((__mbox_s - __mbox_mtime)) s" ;;
    esac
  fi
  __mbox_say "$__mbox_B is locked by $__mbox_who$__mbox_x; $__mbox_hint"
}

# REL-1; an owner file that was made and not written yet is nobody's.
__mbox_holds() { [ -n "$__mbox_token" ] && __mbox_read_owner && [ "$__mbox_obs" = "$__mbox_token" ]; }

# Unlinks O, then removes D, in one process, for the sake of bash, which has no
# fork to spare. -quit: where O stays D stays. What find says does not matter:
# what it left of ours is left to the ordinary tools.
__mbox_let_go() {
  [ -n "${BASH_VERSION-}" ] || return
  __mbox_run find "$__mbox_O" "$__mbox_D" -maxdepth 0 \( -delete -o -quit \)
  ! __mbox_holds
}

# Release. 0: the lock was held until now (REL-2); 1: lost, nothing touched.
__mbox_release() {
  __mbox_holds || return 1
  if __mbox_let_go; then
    return 0
  elif __mbox_unlink "$__mbox_O"; then
    # not empty: somebody else's business
    __mbox_rmdir "$__mbox_D"
  else
    # D stays: without it there were no age by which to recover O
    __mbox_say "cannot remove $__mbox_O: $__mbox_err; the lock $__mbox_D is recovered when it is 30 s old"
  fi
  return 0
}

# ---------------------------------------------------------------------- append

# Creates a temporary exclusively (FILE-5) and leaves its path in __mbox_tmp.
__mbox_temporary() {
  __mbox_hex || return
  __mbox_tmp=$__mbox_B.tmp.$$.$__mbox_x
  __mbox_create "$__mbox_tmp" '' && return 0
  __mbox_code=74
  [ -w "${__mbox_B%/*}/" ] || ! [ -d "${__mbox_B%/*}/" ] || __mbox_code=77
  __mbox_fail "$__mbox_code" "cannot make $__mbox_tmp; see that its directory exists, is writable and not full"
}

# The record of a plain body, with builtins alone: printable ASCII that needs
# no escape and fits one write(2). yash counts characters, not bytes.
__mbox_plain() {
  [ "${#1}" -le 700 ] && [ -z "${YASH_VERSION-}" ] || return 1
  case $1 in *[!\ -~]*|*[\"\\]*) return 1 ;; esac
  [ "${#1}" -le "$__mbox_max" ]
}

# yash replaces an argument that is not text of its locale by an empty one. As
# a script it can be asked for what it was given, on Linux.
__mbox_arguments_lost() {
  [ -n "${YASH_VERSION-}" ] && [ -n "$__mbox_given" ] && [ -n "$__mbox_script" ] &&
    [ -n "$(command tr -d '\000-\177' <"/proc/$$/cmdline" 2>/dev/null | command od -An -tx1)" ]
}

__mbox_feed_stdin() { command head -c "$((__mbox_max + 2))" && __mbox_put "$__mbox_nl$__mbox_nonce"; }
__mbox_feed_body() { __mbox_put "$__mbox_body" && __mbox_put "$__mbox_nonce"; }
__mbox_feed_raw() { command cat && __mbox_put "$__mbox_nl$__mbox_nonce"; }
__mbox_feed_record() {
  if [ -n "$__mbox_text" ]; then __mbox_put "$__mbox_text"; else command cat <"$__mbox_tmp"; fi &&
    __mbox_put "$__mbox_nonce"
}

__mbox_encode() {
  if [ -n "$__mbox_given" ]; then
    __mbox_pipe __mbox_feed_body "$__mbox_awk_encode" -v max="$__mbox_max"
  else
    __mbox_pipe __mbox_feed_stdin "$__mbox_awk_encode" -v max="$__mbox_max" -v strip=1
  fi || __mbox_got=1
}
__mbox_check_raw() {
  __mbox_pipe __mbox_feed_raw "$__mbox_awk_records" -v mode=raw || __mbox_got=1
  [ "$__mbox_got" != 98 ] || __mbox_say "${__mbox_err%%"$__mbox_nl"*}; nothing was appended"
}

# Keeps what $1 prints in __mbox_text, less its last newline, and its awk's
# status in __mbox_got. In a variable, because there must be no temporary
# before all is checked. yash loses bytes that are not text of its locale: it
# keeps them in hexadecimal.
__mbox_hold() {
  __mbox_text=$(
    if [ -n "${YASH_VERSION-}" ]; then __mbox_sink='od -An -v -tx1'; fi
    "$1"
    __mbox_put "$__mbox_nl$__mbox_got"
  )
  __mbox_got=${__mbox_text##*"$__mbox_nl"}
  __mbox_text=${__mbox_text%"$__mbox_nl"*} __mbox_text=${__mbox_text%"$__mbox_nl"}
}
# Makes of it what can go out in one write(2): up to the smallest buffer of a
# printf in __mbox_text, anything longer in the file __mbox_tmp, with
# __mbox_text empty.
__mbox_ready() {
  [ "${#__mbox_text}" -gt 1000 ] || [ -n "${YASH_VERSION-}" ] || return 0
  __mbox_temporary || return
  if [ -n "${YASH_VERSION-}" ]; then
    # read again: a pipe does not tell that one of its commands was killed
    __mbox_put "$__mbox_text" | command awk "$__mbox_awk_hex" >"$__mbox_tmp" &&
      [ "$(exec od -An -v -tx1 <"$__mbox_tmp")" = "$__mbox_text" ]
  else
    __mbox_put "$__mbox_text" >"$__mbox_tmp"
  fi 2>/dev/null || {
    __mbox_fail 74 "cannot write $__mbox_tmp; see whether the disk is full: nothing was appended"
    return
  }
  __mbox_text=
}

# Format (APP-1): the text to write, checked, is in __mbox_text.
__mbox_format() {
  __mbox_text=
  if [ -n "$__mbox_o_raw" ]; then
    __mbox_nonce || return
    __mbox_hold __mbox_check_raw
    case $__mbox_got in
      10[01]) return 0 ;;
      98) return 65 ;;
    esac
    __mbox_fail 74 "cannot read stdin; nothing was appended"
    return
  fi
  __mbox_message=$__mbox_o_id
  if [ -z "$__mbox_message" ]; then
    __mbox_hex || return
    __mbox_message=$__mbox_x
  fi
  __mbox_now
  __mbox_pre="{\"schema_version\":1,\"id\":\"$__mbox_message\",\"body\":\""
  __mbox_mid="\",\"enqueued_at\":$__mbox_s,\"body_bytes\":"
  __mbox_post=",\"origin\":\"peer\"${__mbox_o_from:+,\"from_session_id\":\"$__mbox_o_from\"}${__mbox_o_request_id:+,\"request_id\":\"$__mbox_o_request_id\"}${__mbox_o_reply_to:+,\"reply_to\":\"$__mbox_o_reply_to\"}${__mbox_o_source:+,\"source_message_id\":\"$__mbox_o_source\"}}"
  if [ -z "$__mbox_body" ] && __mbox_arguments_lost; then
    __mbox_fail 65 "yash in this locale lost the body, which is not text to it; nothing was appended: use a UTF-8 locale or stdin"
    return
  fi
  if [ -n "$__mbox_given" ] && __mbox_plain "$__mbox_body"; then
    __mbox_text=$__mbox_pre$__mbox_body$__mbox_mid${#__mbox_body}$__mbox_post
    return 0
  fi
  __mbox_nonce || return
  __mbox_hold __mbox_encode
  case $__mbox_got in
    100) ;;
    101) __mbox_fail 65 "the body is over $__mbox_max bytes; nothing was appended to $__mbox_B: send less, or raise MBOX_MAX_BODY" ;;
    102) __mbox_fail 65 "the body has a NUL byte or is not valid UTF-8; nothing was appended to $__mbox_B: encode it first" ;; # MSG-4
    103) __mbox_fail 65 "the record would be over 1048576 bytes; nothing was appended to $__mbox_B: send less" ;;
    *) __mbox_fail 74 "cannot read the body; nothing was appended to $__mbox_B" ;;
  esac
}

# Open, Heal, Write, under the lock.
__mbox_write() {
  __mbox_files_safe "$__mbox_B" || return                             # APP-2
  __mbox_after_nl= __mbox_lead=
  if [ -s "$__mbox_B" ]; then
    __mbox_after_nl=$__mbox_nl
    __mbox_ends_line "$__mbox_B" || __mbox_lead=$__mbox_nl            # APP-3
  fi
  if [ -n "$__mbox_text" ]; then
    __mbox_add "$__mbox_B" "$__mbox_lead$__mbox_text"                 # APP-4
  else
    # a newline alone is a blank line: nothing
    { [ -z "$__mbox_lead" ] || __mbox_add "$__mbox_B" ''; } && __mbox_add_file "$__mbox_B" "$__mbox_tmp"
  fi || {                                                             # APP-5
    if [ -e "$__mbox_B" ] && ! [ -w "$__mbox_B" ] || ! [ -w "${__mbox_B%/*}/" ]; then
      __mbox_fail 77 "cannot open $__mbox_B for writing; see its permissions"
    else
      __mbox_fail 74 "cannot write all of the record to $__mbox_B; see whether the disk is full: the next append mends the line"
    fi
    return
  }
  [ -z "$__mbox_o_sync" ] || __mbox_sync_all_the_way || # APP-6
    __mbox_fail 74 "cannot sync $__mbox_B: $__mbox_err; the record may not survive a power cut"
}
# APP-8: whether what was just written stands at the end of B, in one piece, at
# the beginning of a line. A late or short write of somebody who stalled can
# stand beside or inside it.
__mbox_stands() {
  if [ -n "$__mbox_text" ]; then
    __mbox_tail "$__mbox_B" $((${#__mbox_text} + 2)) &&
      [ "$__mbox_x" = "$__mbox_after_nl$__mbox_text" ]
    return
  fi
  __mbox_x=$(command wc -c <"$__mbox_tmp") || return
  command tail -c "$((__mbox_x))" -- "$__mbox_B" 2>/dev/null | command cmp -s - "$__mbox_tmp" || return
  [ -z "$__mbox_after_nl" ] ||
    [ -z "$(command tail -c "$((__mbox_x + 1))" -- "$__mbox_B" 2>/dev/null | command head -n 1)" ]
}
# A sync that takes files, or else one of everything.
__mbox_sync() { __mbox_run sync -- "$@" || __mbox_run sync "$@" || __mbox_run sync; }
# APP-6: B, and whatever of the way to it may have been made by ROOT-3.
__mbox_sync_all_the_way() {
  set -- "$__mbox_B" "${__mbox_B%/*}/"
  __mbox_x=$__mbox_root
  while [ -n "$__mbox_x" ]; do
    set -- "$@" "$__mbox_x/"
    case $__mbox_x in
      */*) __mbox_x=${__mbox_x%/*} ;;
      .) break ;;
      *) __mbox_x=. ;;
    esac
    [ -w "$__mbox_x/" ] || break
    [ -n "$__mbox_x" ] || set -- "$@" /
  done
  __mbox_sync "$@"
}

# Appends what is ready to B, until it is acknowledged (APP-7) or has failed.
__mbox_append() {
  __mbox_cut=0
  while :; do
    __mbox_acquire || return
    if [ -n "$__mbox_unless" ] && ! __mbox_lacks "$__mbox_unless"; then # LEDGER-4
      __mbox_release
      return "$__mbox_rc"
    fi
    if __mbox_write; then
      # APP-7, APP-8: lost or cut means the whole append again, with the same record
      if __mbox_stands; then
        __mbox_release && break
        continue
      fi
      __mbox_release
      __mbox_cut=$((__mbox_cut + 1))
      if [ "$__mbox_cut" -gt 8 ]; then
        __mbox_fail 74 "cannot find the record in $__mbox_B after writing it; see who else writes there, and that tail and cmp work"
        return
      fi
    else
      __mbox_rc=$?
      __mbox_release
      return "$__mbox_rc"
    fi
  done
  return 0
}

__mbox_verb_append() {
  __mbox_locate "$__mbox_box" && __mbox_root_safe && __mbox_lock_safe && __mbox_format || return
  # --raw with nothing but blank lines
  [ -n "$__mbox_text" ] || return 0
  # stdin is read; from here on there is something to remove
  __mbox_arm
  __mbox_root_make && __mbox_ready && __mbox_deadline && __mbox_append && __mbox_append_answer
  __mbox_rc=$?
  __mbox_cleanup
  return "$__mbox_rc"
}
__mbox_append_answer() {
  if [ -z "$__mbox_o_raw" ]; then
    __mbox_answer "$__mbox_message"
    return
  fi
  __mbox_pipe __mbox_feed_record "$__mbox_awk_records" -v mode=ids ||
    [ -z "$__mbox_err" ] || __mbox_say "cannot write to stdout: $__mbox_err"
  [ "$__mbox_wrote:${__mbox_got%?}" = 0:10 ] || return 74
}
__mbox_cleanup() {
  [ -z "$__mbox_tmp" ] || __mbox_unlink "$__mbox_tmp"
  __mbox_tmp=
  return 0
}

# ---------------------------------------------------------------------- claims

# CLAIM-1, CLAIM-8: is the entry $1 of B.claims a claim? Then its parts.
__mbox_claim() {
  # shellcheck disable=SC2254 # a pattern is what is wanted
  case $1 in $__mbox_d13-$__mbox_d13-[0-9]*.?*) ;; *) return 1 ;; esac
  __mbox_c_birth=${1%%-*} __mbox_x=${1#*-}
  __mbox_c_stamp=${__mbox_x%%-*} __mbox_x=${__mbox_x#*-}
  __mbox_c_token=${__mbox_x#*.}
  case ${__mbox_x%%.*} in *[!0-9]*) return 1 ;; esac
  [ -f "$__mbox_C/$1" ] && ! [ -h "$__mbox_C/$1" ]
}
# CLAIM-4, CLAIM-5: by the stamp, never by the mtime.
__mbox_orphaned() {
  __mbox_limit=30
  case $__mbox_c_token in *.g) __mbox_limit=300 ;; esac
  __mbox_far "${__mbox_c_stamp%???}" "$__mbox_s" "$__mbox_limit"
}
__mbox_is_mine() { case " $__mbox_mine " in *" $1 "*) return 0 ;; esac; return 1; }

# __mbox_name: a claim name of this acquisition.
__mbox_claim_name() {
  __mbox_count=$((__mbox_count + 1))
  __mbox_name=$1-$__mbox_s$__mbox_ms-$__mbox_count.$__mbox_token
}

# Adopt (DRAIN-2) and Claim (DRAIN-3), under the lock. Ours: __mbox_mine, oldest
# first. __mbox_theirs: how many are in other hands.
__mbox_gather() {
  __mbox_files_safe "$__mbox_B" "$__mbox_B.damaged" && __mbox_claims_safe || return
  __mbox_now
  __mbox_last=0000000000000 __mbox_theirs=0 __mbox_any=
  set --
  if [ -d "$__mbox_C" ]; then
    for __mbox_f in "$__mbox_C"/* "$__mbox_C"/.[!.]*; do
      __mbox_f=${__mbox_f##*/}
      if ! __mbox_claim "$__mbox_f"; then
        if ! [ -e "$__mbox_C/$__mbox_f" ] && ! [ -h "$__mbox_C/$__mbox_f" ]; then
          # no match of the glob; or removed, or given up, by its owner this moment
          case $__mbox_f in '*'|'.[!.]*') ;; *) __mbox_any=1 ;; esac
          continue
        fi
        __mbox_any=1
        [ -n "$__mbox_told" ] || __mbox_say "left alone: $__mbox_C/$__mbox_f is not a claim; see what it is and move it away"
        continue
      fi
      __mbox_last=$__mbox_c_birth __mbox_any=1
      if __mbox_is_mine "$__mbox_f"; then continue; fi
      if __mbox_orphaned; then set -- "$__mbox_f" "$@"; else __mbox_theirs=$((__mbox_theirs + 1)); fi
    done
    __mbox_told=1
    # A glob does not tell that the directory could not be read; it is empty for
    # a moment at most.
    if [ -z "$__mbox_any" ] && ! __mbox_rmdir "$__mbox_C" && [ -d "$__mbox_C" ]; then
      __mbox_fail 74 "cannot list $__mbox_C; see its permissions, and that files are not limited"
      return
    fi
  fi
  for __mbox_f do
    __mbox_claim_name "${__mbox_f%%-*}"
    if __mbox_rename "$__mbox_C/$__mbox_f" "$__mbox_C/$__mbox_name"; then
      __mbox_mine="$__mbox_mine $__mbox_name"
    elif [ -e "$__mbox_C/$__mbox_f" ]; then
      __mbox_code || __mbox_fail $? "cannot adopt $__mbox_C/$__mbox_f: $__mbox_err; see the permissions of the directory"
      return
    fi
  done
  __mbox_after "$__mbox_last"
  while [ -e "$__mbox_B" ]; do
    __mbox_mkdir "$__mbox_C"
    case $? in
      0|1) ;;
      *)
        __mbox_code || __mbox_fail $? "cannot make $__mbox_C: $__mbox_err; see that its directory is writable and not full"
        return
        ;;
    esac
    __mbox_dirs_safe "$__mbox_C" || return
    __mbox_claim_name "$__mbox_birth"
    if __mbox_rename "$__mbox_B" "$__mbox_C/$__mbox_name"; then
      __mbox_mine="$__mbox_mine $__mbox_name"
      break
    elif [ -d "$__mbox_C" ]; then
      [ -e "$__mbox_B" ] || break
      __mbox_code || __mbox_fail $? "cannot rename $__mbox_B into $__mbox_C: $__mbox_err; see the permissions of the directory"
      return
    fi
    # B.claims was removed by a reader that finished: make it again
  done
  if [ -z "$__mbox_mine" ] && [ -d "$__mbox_C" ]; then __mbox_rmdir "$__mbox_C"; fi
  return 0
}

# Our claims that are still there, in order of birth, into __mbox_mine: the
# names have no space and the glob sorts them. A glob does not tell that the
# directory could not be read: one that is there must be among them.
__mbox_sort_mine() {
  __mbox_sorted=
  for __mbox_f in "$__mbox_C"/*; do
    __mbox_f=${__mbox_f##*/}
    if __mbox_is_mine "$__mbox_f"; then __mbox_sorted="$__mbox_sorted $__mbox_f"; fi
  done
  for __mbox_f in $__mbox_mine; do
    case " $__mbox_sorted " in *" $__mbox_f "*) continue ;; esac
    [ -e "$__mbox_C/$__mbox_f" ] || continue
    __mbox_fail 74 "cannot list $__mbox_C; see its permissions, and that files are not limited"
    return
  done
  __mbox_mine=$__mbox_sorted
}

# A claim that fails to be read although it is there ends the feed without
# the nonce; one that is gone was adopted by another (DRAIN-5).
__mbox_feed_mine() {
  for __mbox_f in $__mbox_mine; do
    command cat <"$__mbox_C/$__mbox_f" || ! [ -e "$__mbox_C/$__mbox_f" ] || return 1
    # a last line without newline ends here (DMG-3); else a blank line
    __mbox_put ''
  done 2>/dev/null
  __mbox_put "$__mbox_nonce"
}

# Acknowledge: newest first (DRAIN-8).
__mbox_unlink_mine() {
  set --
  for __mbox_f in $__mbox_mine; do set -- "$__mbox_C/$__mbox_f" "$@"; done
  # one by one: an rm that fails at one would go on with the older ones
  for __mbox_f do
    __mbox_unlink "$__mbox_f" && continue
    __mbox_code || __mbox_fail $? "cannot remove $__mbox_f: $__mbox_err; what it holds will be handed over again"
    return
  done
  __mbox_mine=
}

# CLAIM-7, so that the next reader need not wait. ENOENT: fine.
__mbox_give_up() {
  for __mbox_f in $__mbox_mine; do
    __mbox_x=${__mbox_f#*-}
    __mbox_rename "$__mbox_C/$__mbox_f" "$__mbox_C/${__mbox_f%%-*}-0000000000000-${__mbox_x#*-}"
  done
  __mbox_mine=
}

# DMG-2: the damaged lines of the file $1, byte for byte, to B.damaged. awk
# says which they are; tail and head copy them, because awk has no NUL.
__mbox_feed_file() { command cat <"$__mbox_source" && __mbox_put "$__mbox_nl$__mbox_nonce"; }
# __mbox_x: how many bytes the file $1 has.
__mbox_size() { __mbox_x=$({ command wc -c <"$1"; } 2>/dev/null) && __mbox_x=$((__mbox_x)); }
__mbox_set_aside() {
  __mbox_source=$1
  [ -e "$1" ] || return 0
  __mbox_ranges=$(
    __mbox_pipe __mbox_feed_file "$__mbox_awk_records" -v mode=damaged &&
      case $__mbox_got in 10[0-3]) ;; *) false ;; esac
  ) || {
    [ -e "$1" ] || return 0
    __mbox_fail 74 "cannot read $1 again; nothing was removed"
    return
  }
  [ -n "$__mbox_ranges" ] || return 0
  __mbox_files_safe "$__mbox_B.damaged" || return
  __mbox_opened= __mbox_bad= __mbox_before=0 __mbox_moved=0
  if [ -s "$__mbox_B.damaged" ]; then
    __mbox_size "$__mbox_B.damaged" || {
      __mbox_fail 74 "cannot read $__mbox_B.damaged; nothing was removed"
      return
    }
    __mbox_before=$__mbox_x
  fi
  { {
    __mbox_opened=1
    if [ -s "$__mbox_B.damaged" ] && ! __mbox_ends_line "$__mbox_B.damaged"; then
      __mbox_put '' || __mbox_bad=1
    fi
    # shellcheck disable=SC2086 # numbers, by threes
    set -- $__mbox_ranges
    while [ $# -gt 0 ]; do
      command tail -n "+$1" <"$__mbox_source" | command head -n "$2" || __mbox_bad=1
      __mbox_moved=$((__mbox_moved + $2)) __mbox_before=$((__mbox_before + $3))
      shift 3
    done
    # a torn last line gets its newline
    __mbox_ends_line "$__mbox_B.damaged" || __mbox_put '' || __mbox_bad=1
  } >>"$__mbox_B.damaged"; } 2>/dev/null
  # measured: a pipe does not tell that tail was killed
  if [ -n "$__mbox_opened" ] && [ -z "$__mbox_bad" ] &&
    __mbox_size "$__mbox_B.damaged" && [ "$__mbox_x" -ge "$__mbox_before" ]; then
    __mbox_set=$((__mbox_set + __mbox_moved))
    return 0
  fi
  # adopted by another, who sets them aside as well
  [ -e "$__mbox_source" ] || return 0
  __mbox_fail 74 "cannot write damaged lines to $__mbox_B.damaged; see whether the disk is full: nothing was removed"
}
__mbox_set_aside_said() {
  [ "$__mbox_set" -eq 0 ] || __mbox_say "$__mbox_set damaged line(s) in $__mbox_B were not delivered; they are in $__mbox_B.damaged"
}

# ----------------------------------------------------------------------- drain

# What mbox.zsh, which runs in the user's shell, does in a subshell after all.
__mbox_apart() { "$@"; }

__mbox_verb_drain() {
  __mbox_locate "$1" && __mbox_searchable && __mbox_root_safe && __mbox_lock_safe &&
    __mbox_files_safe "$__mbox_B.damaged" && __mbox_claims_safe || return
  # Look (DRAIN-1)
  __mbox_mail || return 0
  __mbox_apart __mbox_drain
}

__mbox_drain() {
  __mbox_nonce || return
  __mbox_mine= __mbox_set=0 __mbox_told=
  __mbox_deadline
  if [ -n "$__mbox_o_max$__mbox_o_max_bytes" ]; then
    __mbox_take many
  else
    __mbox_drain_all
  fi
  __mbox_rc=$?
  # DRAIN-9, CLAIM-7
  __mbox_give_up
  return "$__mbox_rc"
}

__mbox_drain_all() {
  __mbox_acquire || return
  __mbox_gather || {
    __mbox_rc=$?
    __mbox_release
    return "$__mbox_rc"
  }
  # Release, the fence (DRAIN-4)
  while ! __mbox_release; do __mbox_acquire || return; done
  [ -z "$__mbox_signal" ] || return 75
  if [ -z "$__mbox_mine" ]; then
    [ "$__mbox_theirs" -eq 0 ] ||                                    # DRAINV-4
      __mbox_say "nothing handed over: the mail of $__mbox_B is in the hands of another reader, for up to 5 minutes should it have died"
    return 0
  fi
  __mbox_deliver drain
}

__mbox_print_mine() {
  __mbox_pipe __mbox_feed_mine "$__mbox_awk_records" -v mode=drain -v format="$__mbox_o_format"
}
# Read and Deliver what is ours, set damaged lines aside, Acknowledge.
__mbox_deliver() {
  __mbox_sort_mine || return
  "$__mbox_print" || {
    [ -z "$__mbox_err" ] || __mbox_say "cannot write to stdout: $__mbox_err; the mail stays in $__mbox_B.claims"
    return 74                                                        # DRAIN-6
  }
  case $__mbox_got in
    100|101) ;;
    102|103)
      for __mbox_claim in $__mbox_mine; do
        __mbox_set_aside "$__mbox_C/$__mbox_claim" || return
      done
      __mbox_set_aside_said
      ;;
    *)
      [ -z "$__mbox_signal" ] || return 75
      __mbox_unreadable
      return
      ;;
  esac
  __mbox_unlink_mine || return
  # not empty: fine
  __mbox_rmdir "$__mbox_C"
  return 0
}

# ------------------------------------------------------------------------ take

# What could be taken, without the lock: claims that could be adopted, then B.
__mbox_feed_look() {
  __mbox_now
  for __mbox_f in "$__mbox_C"/*; do
    __mbox_claim "${__mbox_f##*/}" && __mbox_orphaned || continue
    command cat <"$__mbox_f" || ! [ -e "$__mbox_f" ] || return 1
    __mbox_put ''
  done 2>/dev/null
  if [ -f "$__mbox_B" ]; then
    command cat <"$__mbox_B" 2>/dev/null || ! [ -e "$__mbox_B" ] || return 1
    __mbox_put ''
  fi
  __mbox_put "$__mbox_nonce"
}
__mbox_pick() {   # FEED MODE: one of look, chosen, rest over the feed
  __mbox_pipe "$1" "$__mbox_awk_records" -v mode="$2" \
    -v picking="$__mbox_picking" -v max="$__mbox_o_max" -v maxbytes="$__mbox_o_max_bytes" &&
    case $__mbox_got in 10[0-3]) ;; *) return 74 ;; esac
}

# $1: first (take) or many (a bounded drain).
__mbox_take() {
  __mbox_picking=$1
  # Look (TAKE-1)
  __mbox_needs=$(__mbox_pick __mbox_feed_look look && __mbox_put " $__mbox_got") || {
    __mbox_unreadable
    return
  }
  __mbox_got=${__mbox_needs#* } __mbox_needs=${__mbox_needs% *}
  case $__mbox_got in
    100|102)
      set -- "$__mbox_C"/*
      # Else the glob could not read the directory, or it is just being made:
      # under the lock that is told apart.
      if [ -e "$1" ] || ! [ -d "$__mbox_C" ]; then
        [ "$__mbox_picking" = many ] || return 1
        if [ -n "$__mbox_needs" ]; then                              # DRAINV-3
          __mbox_fail 1 "the first record of $__mbox_B needs --max-bytes $__mbox_needs; nothing was handed over"
          return
        fi
        if [ "$__mbox_got" = 100 ]; then
          [ -s "$__mbox_B" ] || __mbox_say "nothing handed over: the mail of $__mbox_B is in the hands of another reader"
          return 0
        fi
      fi
      ;;
  esac
  __mbox_take_out || return
  if [ -z "$__mbox_chosen" ]; then
    [ "$__mbox_picking" = many ] || return 1
    return 0
  fi
  [ -z "$__mbox_signal" ] || return 75
  __mbox_deliver
}

# Acquire to Release: what is chosen is a claim of ours then, __mbox_chosen.
__mbox_take_out() {
  while :; do
    __mbox_acquire || return
    __mbox_gather || {
      __mbox_rc=$?
      __mbox_release
      return "$__mbox_rc"
    }
    # Fence: lost, begin again; the claims stay ours
    __mbox_read_owner && [ "$__mbox_obs" = "$__mbox_token" ] || continue
    __mbox_split
    __mbox_rc=$?
    __mbox_cleanup_split
    __mbox_release
    case $__mbox_rc in
      3) continue ;;
      *) return "$__mbox_rc" ;;
    esac
  done
}

__mbox_feed_copy() {
  for __mbox_f in $__mbox_mine; do
    __mbox_put "$__mbox_nonce birth ${__mbox_f%%-*}" || return
    command cat <"$__mbox_C/$__mbox_f" || ! [ -e "$__mbox_C/$__mbox_f" ] || return
    __mbox_put '' || return
  done
}

# The claims as they are, with a newline after each where it is missing.
__mbox_back() {
  for __mbox_f in $__mbox_mine; do
    [ -s "$__mbox_C/$__mbox_f" ] || continue
    command cat <"$__mbox_C/$__mbox_f" || return
    __mbox_ends_line "$__mbox_C/$__mbox_f" || __mbox_put '' || return
  done
}

# Split, Put back, Unlink, under the lock. 3: B is there, begin again. What is
# to be decided twice is decided on a copy: a claim may still get a late write
# of somebody who lost the lock.
__mbox_split() {
  __mbox_chosen= __mbox_copy= __mbox_pick= __mbox_rest=
  [ -n "$__mbox_mine" ] || return 0
  __mbox_sort_mine || return
  __mbox_temporary || return
  __mbox_copy=$__mbox_tmp
  { __mbox_feed_copy >"$__mbox_copy"; } 2>/dev/null || {
    __mbox_fail 74 "cannot copy the claims in $__mbox_C to $__mbox_copy; see whether the disk is full"
    return
  }
  __mbox_source=$__mbox_copy
  [ -z "$__mbox_bound" ] || "$__mbox_bound" __mbox_feed_file || return
  __mbox_temporary || return
  __mbox_pick=$__mbox_tmp
  __mbox_temporary || return
  __mbox_rest=$__mbox_tmp __mbox_tmp=
  {
    __mbox_pick __mbox_feed_file chosen >"$__mbox_pick" && __mbox_what=$__mbox_got &&
      __mbox_pick __mbox_feed_file rest >"$__mbox_rest"
  } 2>/dev/null || {
    __mbox_fail 74 "cannot write $__mbox_pick or $__mbox_rest: $__mbox_err; see whether the disk is full"
    return
  }
  if [ "$__mbox_picking" = many ] && ! [ -s "$__mbox_rest" ]; then    # TAKE-9
    __mbox_chosen=$__mbox_mine
    return 0
  fi
  if ! [ -s "$__mbox_pick" ]; then
    # TAKE-1: nothing matches any more; all goes back, damaged lines too
    { __mbox_back >"$__mbox_rest"; } 2>/dev/null || {
      __mbox_fail 74 "cannot write $__mbox_rest; see whether the disk is full"
      return
    }
  else                                                                # TAKE-2
    if [ "$__mbox_what" = 103 ]; then
      # DMG-2; while all is still as it was, so that a failure leaves no copies
      __mbox_set_aside "$__mbox_copy" || return
      __mbox_set_aside_said
    fi
    __mbox_birth=${__mbox_mine# } __mbox_birth=${__mbox_birth%%-*}
    case ${__mbox_mine# } in
      *' '*) __mbox_birth=$(__mbox_pick __mbox_feed_file birth) || return 74 ;;
    esac
    __mbox_claim_name "$__mbox_birth"
    if ! __mbox_rename "$__mbox_pick" "$__mbox_C/$__mbox_name"; then
      [ -d "$__mbox_C" ] || return 3
      __mbox_code || __mbox_fail $? "cannot rename $__mbox_pick into $__mbox_C: $__mbox_err"
      return
    fi
    __mbox_pick=
    __mbox_chosen=$__mbox_name
  fi
  if [ -s "$__mbox_rest" ]; then                                      # TAKE-3
    if [ -e "$__mbox_B" ] || [ -h "$__mbox_B" ] || ! __mbox_run ln -- "$__mbox_rest" "$__mbox_B"; then
      [ -z "$__mbox_chosen" ] || __mbox_unlink "$__mbox_C/$__mbox_chosen"
      __mbox_chosen=
      if [ -e "$__mbox_B" ] || [ -h "$__mbox_B" ]; then return 3; fi
      __mbox_code || __mbox_fail $? "cannot link $__mbox_rest to $__mbox_B: $__mbox_err"
      return
    fi
  fi
  set -- "${__mbox_B%/*}/"
  [ ! -d "$__mbox_C" ] || set -- "$@" "$__mbox_C"
  [ -z "$__mbox_chosen" ] || set -- "$@" "$__mbox_C/$__mbox_chosen"
  [ ! -s "$__mbox_rest" ] || set -- "$@" "$__mbox_rest"
  __mbox_sync "$@" || {                                               # TAKE-8
    [ -z "$__mbox_chosen" ] || __mbox_unlink "$__mbox_C/$__mbox_chosen"
    __mbox_fail 74 "cannot sync $__mbox_B or its claims: $__mbox_err; nothing was handed over"
    return
  }
  __mbox_unlink_mine || return                                        # TAKE-4
  __mbox_mine=$__mbox_chosen
  if [ -z "$__mbox_mine" ]; then __mbox_rmdir "$__mbox_C"; fi
  return 0
}
__mbox_cleanup_split() {
  set --
  for __mbox_f in "$__mbox_copy" "$__mbox_pick" "$__mbox_rest" "$__mbox_tmp"; do
    [ -z "$__mbox_f" ] || set -- "$@" "$__mbox_f"
  done
  [ $# -eq 0 ] || __mbox_unlink "$@"
  __mbox_copy= __mbox_pick= __mbox_rest= __mbox_tmp=
}

__mbox_verb_take() {
  __mbox_locate "$1" && __mbox_searchable && __mbox_root_safe && __mbox_lock_safe &&
    __mbox_files_safe "$__mbox_B.damaged" && __mbox_claims_safe || return
  __mbox_mail || return 1
  __mbox_apart __mbox_take_one
}
__mbox_take_one() {
  __mbox_nonce || return
  __mbox_mine= __mbox_set=0 __mbox_told=
  __mbox_deadline
  __mbox_take first
  __mbox_rc=$?
  __mbox_give_up
  return "$__mbox_rc"
}

# ------------------------------------------------------------------- peek, has

# PEEK-1, PEEK-2: no lock. B is opened before the claims are listed, and the
# list must be the same before and after: what moves while we read is read
# again, and awk forgets what it had.
__mbox_list_claims() {
  __mbox_listed=
  for __mbox_f in "$__mbox_C"/*; do
    if __mbox_claim "${__mbox_f##*/}"; then __mbox_listed=$__mbox_listed/${__mbox_f##*/}; fi
  done
}
__mbox_feed_peek() {
  for __mbox_try in 1 2 3 4 5 6 7 8 9 10; do
    [ "$__mbox_try" = 1 ] || __mbox_put "$__mbox_nonce again"
    __mbox_list_claims
    __mbox_first=$__mbox_listed __mbox_torn=
    if [ -f "$__mbox_B" ]; then
      { __mbox_feed_peeked && command cat <&5; } 5<"$__mbox_B" || __mbox_torn=1
    else
      __mbox_feed_peeked || __mbox_torn=1
      [ ! -f "$__mbox_B" ] || __mbox_torn=1
    fi 2>/dev/null
    __mbox_list_claims
    __mbox_put ''
    [ -n "$__mbox_torn" ] || [ "$__mbox_first" != "$__mbox_listed" ] || {
      __mbox_put "$__mbox_nonce"
      return
    }
  done
  # Ever moving: all that was there at the last try, if it could be read.
  [ -n "$__mbox_torn" ] || __mbox_put "$__mbox_nonce"
}
__mbox_feed_peeked() {
  __mbox_list_claims
  [ "$__mbox_first" = "$__mbox_listed" ] || return 1
  for __mbox_f in "$__mbox_C"/*; do
    __mbox_claim "${__mbox_f##*/}" || continue
    command cat <"$__mbox_f" || return 1
    __mbox_put ''
  done
}
__mbox_verb_peek() {
  __mbox_locate "$1" && __mbox_searchable && __mbox_root_safe &&
    __mbox_files_safe "$__mbox_B" && __mbox_claims_safe || return
  __mbox_mail || return 0
  __mbox_apart __mbox_peek
}
__mbox_peek() {
  __mbox_nonce || return
  __mbox_pipe __mbox_feed_peek "$__mbox_awk_records" -v mode=peek -v max="$__mbox_o_max" -v format="$__mbox_o_format" || {
    [ -z "$__mbox_err" ] || __mbox_say "cannot write to stdout: $__mbox_err"
    return 74
  }
  case $__mbox_got in 10[0-3]) return 0 ;; esac
  __mbox_unreadable
}

# HAS-1: a take may put mail back between two looks.
__mbox_mail() { [ -s "$__mbox_B" ] || [ -d "$__mbox_C" ] || [ -s "$__mbox_B" ]; }

# HASV-1, SH-3. Safe anywhere: no expansion here depends on options or IFS.
__mbox_has() {
  __mbox_locate "$1" && __mbox_searchable && __mbox_root_owned &&
    __mbox_files_safe "$__mbox_B" && __mbox_dirs_safe "$__mbox_C" || return
  __mbox_mail
}

# ----------------------------------------------------------------- send, reply

# The entry of the ledger (LEDGER-1, LEDGER-2), a line of another record file.
# Not had: said, and the message goes all the same (LEDGER-3).
__mbox_entry() {
  __mbox_hint='it is not waited for' __mbox_unless=$__mbox_o_id
  __mbox_locate "$__mbox_to" received && __mbox_root_safe && __mbox_lock_safe &&
    __mbox_root_make && __mbox_deadline 1 && __mbox_append
  __mbox_rc=$?
  __mbox_hint=$__mbox_hint_wait __mbox_unless=
  [ "$__mbox_rc" -eq 0 ] || [ -n "$__mbox_signal" ] ||
    __mbox_say "the message $__mbox_message has no entry in $__mbox_B and cannot be answered by its id; answer it with send"
  return "$__mbox_rc"
}
# LEDGER-4, under the lock. Not lacking: __mbox_rc is 0, or why it is not known.
__mbox_lacks() {
  __mbox_claims_safe && __mbox_find "$1"
  __mbox_rc=$?
  [ "$__mbox_rc" -ne 1 ] || return 0
  # whoever wrote it may not have had it synced
  [ "$__mbox_rc" -ne 0 ] || [ -z "$__mbox_o_sync" ] || __mbox_run sync || {
    __mbox_fail 74 "cannot sync $__mbox_B: $__mbox_err; the entry may not survive a power cut"
    __mbox_rc=$?
  }
  return 1
}
# LEDGER-5: the sender and the request of the first entry with the id $1, those
# that are names, in __mbox_found, a space between. 1: there is none.
__mbox_find() {
  __mbox_mail || return 1
  __mbox_nonce || return
  __mbox_found=$(
    __mbox_pipe __mbox_feed_peek "$__mbox_awk_records" -v mode=find -v seek="$1" || __mbox_got=1
    __mbox_put "$__mbox_got"
  )
  __mbox_got=${__mbox_found##*"$__mbox_nl"}
  __mbox_found=${__mbox_found%"$__mbox_nl"*}
  case $__mbox_got in
    101|103) return 0 ;;
    100|102) return 1 ;;
  esac
  __mbox_unreadable
}

# LEDGER-6: how many entries of what FEED feeds are too many: __mbox_o_max, -1
# for none, which chooses none.
__mbox_excess() {
  __mbox_x=$(__mbox_pick "$1" count) || {
    __mbox_fail 74 "cannot count the entries of $__mbox_B; nothing was pruned"
    return
  }
  __mbox_over "$__mbox_x" || __mbox_o_max=-1
}
__mbox_over() {
  __mbox_o_max=$(($1 - __mbox_ledger_max))
  [ $((__mbox_o_max * 8)) -gt "$__mbox_ledger_max" ]
}
# A bounded drain whose records go nowhere. Counted first without the lock, then
# again by __mbox_split, because another may have pruned.
__mbox_prune() {
  __mbox_picking=older __mbox_bound=__mbox_excess
  __mbox_nonce && __mbox_files_safe "$__mbox_B.damaged" "$__mbox_B.pruned" && __mbox_claims_safe &&
    __mbox_excess __mbox_feed_look && [ "$__mbox_o_max" -gt 0 ] || return
  __mbox_mine= __mbox_set=0 __mbox_told=
  __mbox_hint='a later send prunes it'
  __mbox_deadline 1
  __mbox_take_out && [ -n "$__mbox_chosen" ] && [ -z "$__mbox_signal" ] && __mbox_prune_chosen
  __mbox_give_up
}
__mbox_prune_chosen() {
  __mbox_now                                                          # LEDGER-7
  __mbox_add "$__mbox_B.pruned" "$__mbox_nl{\"at\":$__mbox_s,\"pruned\":$__mbox_o_max}" || {
    __mbox_fail 74 "cannot write $__mbox_B.pruned; see its permissions, and whether the disk is full: nothing was pruned"
    return
  }
  __mbox_unlink_mine || return
  # not empty: fine
  __mbox_rmdir "$__mbox_C"
  [ -z "$__mbox_o_verbose" ] || __mbox_say "old entries pruned from the ledger $__mbox_B: $__mbox_o_max" # SENDV-3
}
# Lines are counted at each message; more is done when they are too many, or
# somebody left claims.
__mbox_keep_short() {
  __mbox_locate "$__mbox_to" received
  __mbox_x=$({ command wc -l <"$__mbox_B"; } 2>/dev/null)
  if [ -d "$__mbox_C" ] || __mbox_over "$__mbox_x"; then __mbox_apart __mbox_prune; fi
}

__mbox_verb_send() {
  if [ "$__mbox_o_from" = "$__mbox_to" ] && [ -z "$__mbox_o_to_self" ]; then # SENDV-2
    __mbox_fail 65 "$__mbox_to is the sender itself; nothing was sent: give another name, or send --to-self if it is meant"
    return
  fi
  __mbox_locate "$__mbox_to" && __mbox_root_safe && __mbox_lock_safe && __mbox_format || return
  __mbox_arm
  __mbox_entered=
  __mbox_root_make && __mbox_ready && {
    __mbox_entry && __mbox_entered=1
    __mbox_locate "$__mbox_to" && __mbox_deadline && __mbox_append && __mbox_answer "$__mbox_message"
  }
  __mbox_sent=$?
  __mbox_cleanup
  # what comes of it changes nothing for the message
  [ -z "$__mbox_entered" ] || [ -n "$__mbox_signal" ] || __mbox_keep_short
  return "$__mbox_sent"
}

# REPLYV-1, REPLYV-2
__mbox_verb_reply() {
  __mbox_locate "$__mbox_o_from" received && __mbox_searchable && __mbox_root_safe &&
    __mbox_files_safe "$__mbox_B" && __mbox_claims_safe || return
  __mbox_find "$__mbox_o_source" || {
    __mbox_rc=$?
    [ "$__mbox_rc" -ne 1 ] ||
      __mbox_say "$__mbox_o_from was sent no message $__mbox_o_source, says $__mbox_B; see the id, and that --from or MBOX_NAME is who it was sent to"
    return "$__mbox_rc"
  }
  __mbox_to=${__mbox_found%% *} __mbox_o_reply_to=${__mbox_found#* }
  if [ -z "$__mbox_to" ]; then
    __mbox_fail 1 "the message $__mbox_o_source in $__mbox_B does not say by name who sent it; answer it with send"
    return
  fi
  __mbox_verb_send
}

# ------------------------------------------------------------ acquire, release

__mbox_verb_acquire() {
  __mbox_locate "$__mbox_box" && __mbox_root_safe && __mbox_lock_safe &&
    __mbox_root_make || return
  if [ -n "${__mbox_taken-}" ]; then
    __mbox_token=$__mbox_taken
  else
    __mbox_deadline
    __mbox_acquire || return
  fi
  # A token nobody got, or that nobody waits for any more, would be a lock for
  # nobody.
  if [ -n "$__mbox_signal" ]; then
    __mbox_release
    return 75
  fi
  __mbox_answer "$__mbox_token" && return 0
  __mbox_release
  return 74
}
__mbox_verb_release() {
  __mbox_locate "$__mbox_box" && __mbox_searchable && __mbox_root_safe && __mbox_lock_safe || return
  __mbox_token=$__mbox_arg
  __mbox_release
}

# ---------------------------------------------------------------- command line

__mbox_help() {
  __mbox_put 'usage: mbox VERB [OPTION...] [ARGUMENT...]

  append MAILBOX [BODY]      append one message, BODY or stdin, and print its id
      --from NAME --reply-to ID --request-id ID --source ID --id ID
      --raw (stdin holds records, one a line) --sync --wait SECS
  drain MAILBOX...           hand over every message, then remove it
      --max N --max-bytes N --format jsonl|body|text --wait SECS
  peek MAILBOX...            the same without removing
      --since ID --max N --format jsonl|body|text
  take MAILBOX               remove and print the first message that matches
      --id ID --reply-to ID --from NAME --format jsonl|body|text --wait SECS
  has MAILBOX                0 when there is mail, 1 when not
  send TO [BODY]             append to the mailbox TO what can be answered by its id
      --from NAME --request-id ID --id ID --to-self --sync --verbose --wait SECS
  reply ID [BODY]            answer the message ID that was sent to --from
      --from NAME --request-id ID --id ID --sync --verbose --wait SECS
  acquire MAILBOX            take the lock and print its token  [--wait SECS]
  release MAILBOX TOKEN      give it back
  hook AGENT                 bring mail to claude, codex or gemini; its host runs this

Everywhere: --root DIR. A MAILBOX with a / is the path of the record file.
drain, peek, take and has use MBOX_NAME when no MAILBOX is given, send and
reply when no --from is.
Status: 0 done, 1 no, 2 usage, 65 bad data, 74 I/O error, 75 busy, 77 refused.'
}
__mbox_usage() { __mbox_fail 2 "$1; see mbox --help"; }

# NAME-2, for the values of an envelope.
__mbox_value() {
  case $2 in
    ''|[.-]*|*[!ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._@+-]*) ;;
    *) [ "${#2}" -gt 128 ] || return 0 ;;
  esac
  __mbox_usage "$1 takes 1 to 128 letters, digits and ._@+-, not beginning with . or -: '$2'"
}
__mbox_message_id() {
  case $2 in *[!0123456789abcdef]*) __mbox_x=bad ;; *) __mbox_x=${#2} ;; esac
  [ "$__mbox_x" = 16 ] || __mbox_usage "$1 takes 16 lower-case hex digits, not '$2'"
}
# __mbox_x: the number of the digits $1, which may be 0 in front (octal to the
# shell) or too many for 32 bits.
__mbox_digits() {
  __mbox_x=$1
  while :; do case $__mbox_x in 0?*) __mbox_x=${__mbox_x#0} ;; *) break ;; esac; done
  case $__mbox_x in ?????????*) __mbox_x=99999999 ;; esac
}
# __mbox_x: a count of at least 1.
__mbox_number() {
  case $2 in ''|*[!0-9]*) __mbox_x=0 ;; *) __mbox_digits "$2" ;; esac
  [ "$__mbox_x" != 0 ] || __mbox_usage "$1 takes a whole number of at least 1, not '$2'"
}
# One option with its value, on its way to __mbox_o_*.
__mbox_option() {
  case $__mbox_verb:$1 in
    append:--from|append:--reply-to|append:--request-id|append:--source|send:--from|send:--request-id|reply:--from|reply:--request-id)
      __mbox_value "$1" "$2" || return
      __mbox_envelope=$1
      ;;
    append:--id|send:--id|reply:--id)
      __mbox_envelope=$1
      __mbox_message_id "$1" "$2" || return
      ;;
  esac
  case $__mbox_verb:$1 in
    *:--root)
      [ -n "$2" ] || { __mbox_usage "--root takes a directory"; return; }
      __mbox_o_root=$2
      ;;
    append:--wait|drain:--wait|take:--wait|acquire:--wait|send:--wait|reply:--wait)
      __mbox_x=${2%%.*} __mbox_y=${2#"${2%%.*}"}
      __mbox_y=${__mbox_y#.}
      case $2 in *.) __mbox_x= ;; esac
      case $__mbox_x:$__mbox_y in
        :*|*[!0-9:]*) __mbox_usage "--wait takes seconds, such as 0, 0.5 or 5, not '$2'"; return ;;
      esac
      __mbox_digits "$__mbox_x"
      __mbox_y=${__mbox_y}000
      __mbox_o_wait_s=$__mbox_x __mbox_o_wait_ms=${__mbox_y%"${__mbox_y#???}"}
      ;;
    append:--from|take:--from|send:--from|reply:--from) __mbox_o_from=$2 __mbox_f_from=1 ;;
    append:--reply-to|take:--reply-to) __mbox_o_reply_to=$2 __mbox_f_reply_to=1 ;;
    append:--id|take:--id|send:--id|reply:--id) __mbox_o_id=$2 __mbox_f_id=1 ;;
    append:--request-id|send:--request-id|reply:--request-id) __mbox_o_request_id=$2 ;;
    append:--source) __mbox_o_source=$2 ;;
    drain:--max|peek:--max) __mbox_number "$1" "$2" || return; __mbox_o_max=$__mbox_x ;;
    drain:--max-bytes) __mbox_number "$1" "$2" || return; __mbox_o_max_bytes=$__mbox_x ;;
    peek:--since) __mbox_o_since=$2 __mbox_f_since=1 ;;
    drain:--format|peek:--format|take:--format)
      case $2 in jsonl|body|text) ;; *) __mbox_usage "--format is jsonl, body or text, not '$2'"; return ;; esac
      __mbox_o_format=$2
      ;;
    *) __mbox_usage "$__mbox_verb has no option $1" ;;
  esac
}

# What a command begins with.
__mbox_begin() {
  __mbox_o_root= __mbox_o_wait_s=5 __mbox_o_wait_ms=000 __mbox_o_from= __mbox_f_from=
  __mbox_o_reply_to= __mbox_f_reply_to= __mbox_o_id= __mbox_f_id= __mbox_o_request_id=
  __mbox_o_source= __mbox_o_max= __mbox_o_max_bytes= __mbox_o_since= __mbox_f_since=
  __mbox_o_format= __mbox_o_raw= __mbox_o_sync= __mbox_o_to_self= __mbox_o_verbose=
  __mbox_envelope= __mbox_verb= __mbox_to= __mbox_unless=
  __mbox_print=__mbox_print_mine __mbox_bound=
  __mbox_hint_wait='try again, or wait longer with --wait SECS' __mbox_hint=$__mbox_hint_wait
  __mbox_pool= __mbox_nonce= __mbox_stat= __mbox_long= __mbox_signal= __mbox_count=0 __mbox_jitter=$(($$ % 1024))
  __mbox_tmp= __mbox_copy= __mbox_pick= __mbox_rest= __mbox_mine=
}
# The whole of a command, in a clean environment.
__mbox_main() {
  __mbox_begin
  __mbox_left=$#
  # CLI-1: options anywhere. Each argument leaves at the front; what is not an
  # option comes back at the end.
  while [ "$__mbox_left" -gt 0 ]; do
    __mbox_a=$1
    shift
    __mbox_left=$((__mbox_left - 1))
    case $__mbox_verb:$__mbox_a in
      *:--)
        while [ "$__mbox_left" -gt 0 ]; do
          set -- "$@" "$1"
          shift
          __mbox_left=$((__mbox_left - 1))
        done
        ;;
      *:--help) __mbox_help; return ;;                           # CLI-3
      append:--raw) __mbox_o_raw=1 ;;
      append:--sync|send:--sync|reply:--sync) __mbox_o_sync=1 ;;
      send:--to-self) __mbox_o_to_self=1 ;;
      send:--verbose|reply:--verbose) __mbox_o_verbose=1 ;;
      *:--?*=*) __mbox_option "${__mbox_a%%=*}" "${__mbox_a#*=}" || return ;;
      :--root|*:--from|*:--reply-to|*:--request-id|*:--source|*:--id|*:--wait|*:--max|*:--max-bytes|*:--format|*:--since|*:--root)
        if [ "$__mbox_left" -eq 0 ]; then __mbox_usage "$__mbox_a takes a value"; return; fi
        __mbox_option "$__mbox_a" "$1" || return
        shift
        __mbox_left=$((__mbox_left - 1))
        ;;
      :append|:drain|:peek|:take|:has|:send|:reply|:hook|:acquire|:release) __mbox_verb=$__mbox_a ;;
      *:-?*) __mbox_usage "no such option: $__mbox_a"; return ;;
      :*) __mbox_usage "no such verb: $__mbox_a"; return ;;
      *) set -- "$@" "$__mbox_a" ;;
    esac
  done
  case $__mbox_verb in
    '')
      __mbox_help >&2
      return 2
      ;;
    drain|peek|take|has)
      if [ "$#" -eq 0 ] && [ -n "${MBOX_NAME-}" ]; then                 # CLI-4
        case $MBOX_NAME in */*) __mbox_usage "MBOX_NAME is not a mailbox name: '$MBOX_NAME'"; return ;; esac
        set -- "$MBOX_NAME"
      fi
      ;;
  esac
  case $__mbox_verb:$# in
    send:0) __mbox_usage "send needs TO, the name to send to"; return ;;
    reply:0) __mbox_usage "reply needs the ID of a message"; return ;;
    hook:0) __mbox_usage "hook needs an AGENT: claude, codex or gemini"; return ;;
    *:0) __mbox_usage "$__mbox_verb needs a MAILBOX"; return ;;
    release:1) __mbox_usage "release needs the TOKEN that acquire printed"; return ;;
    append:[12]|send:[12]|reply:[12]|hook:1|drain:*|peek:*|take:1|has:1|acquire:1|release:2) ;;
    *) __mbox_usage "$__mbox_verb has too many arguments"; return ;;
  esac
  case $__mbox_verb in
    send|reply) __mbox_parties "$1" || return ;;
    hook)
      case $1 in claude|codex|gemini) ;; *) __mbox_usage "no such AGENT: '$1' (claude, codex or gemini)"; return ;; esac
      # HOOK-1: from here on all is well, whatever is missing
      if [ -r "$__mbox_hooks/hook.sh" ]; then
        # shellcheck source=shell/hooks/hook.sh
        . "$__mbox_hooks/hook.sh"
        __mbox_hook "$1"
      fi
      return 0
      ;;
    append|release) __mbox_locate "$1" || return ;;
    *) for __mbox_box do __mbox_locate "$__mbox_box" || return; done ;;
  esac
  [ -n "$__mbox_o_format" ] || if [ -t 1 ]; then __mbox_o_format=text; else __mbox_o_format=jsonl; fi
  __mbox_box=$1 __mbox_arg=${2-}
  case $__mbox_verb in
    append|send|reply)
      __mbox_max=65536                                                # MSG-3
      case ${MBOX_MAX_BODY-} in
        '') ;;
        *[!0-9]*) __mbox_usage "MBOX_MAX_BODY is not a number of bytes: '$MBOX_MAX_BODY'"; return ;;
        *)
          __mbox_digits "$MBOX_MAX_BODY"
          __mbox_max=$__mbox_x
          ;;
      esac
      __mbox_given= __mbox_body=
      if [ $# -eq 2 ]; then __mbox_given=1 __mbox_body=$2; fi
      if [ -n "$__mbox_o_raw" ] && [ -n "$__mbox_given$__mbox_envelope" ]; then # APPEND-3
        __mbox_usage "append --raw takes no BODY and no ${__mbox_envelope:---from and the like}"
        return
      fi
      "__mbox_verb_$__mbox_verb"
      ;;
    has)
      # builtins do not see a mode: only the script may fork (SH-3)
      [ -z "$__mbox_script" ] || __mbox_root_safe || return
      __mbox_has "$1"
      ;;
    acquire)
      __mbox_arm
      __mbox_verb_acquire
      ;;
    release)
      __mbox_arm
      __mbox_verb_release
      ;;
    take)
      __mbox_arm
      __mbox_query
      __mbox_verb_take "$1"
      ;;
    *)
      __mbox_arm
      __mbox_query
      __mbox_answered=0
      for __mbox_box do                                               # EXIT-1
        [ -z "$__mbox_signal" ] || break
        "__mbox_verb_$__mbox_verb" "$__mbox_box" || {
          __mbox_rc=$?
          [ "$__mbox_answered" -ne 0 ] || __mbox_answered=$__mbox_rc
        }
      done
      return "$__mbox_answered"
      ;;
  esac
}
# Who a message is from and to, or what it answers; checked, because they become
# paths (PLACE-1).
__mbox_parties() {
  if [ -z "$__mbox_o_from" ] && [ -n "${MBOX_NAME-}" ]; then
    __mbox_value MBOX_NAME "$MBOX_NAME" || return
    __mbox_o_from=$MBOX_NAME
  fi
  __mbox_ledger_max=1000                                              # LEDGER-6
  if [ -n "${MBOX_LEDGER_MAX-}" ]; then
    __mbox_number MBOX_LEDGER_MAX "$MBOX_LEDGER_MAX" || return
    __mbox_ledger_max=$__mbox_x
  fi
  if [ "$__mbox_verb" = send ]; then
    __mbox_value TO "$1" || return
    __mbox_to=$1
  else
    __mbox_message_id ID "$1" || return
    __mbox_o_source=$1
    [ -n "$__mbox_o_from" ] || { __mbox_usage "reply needs to know who answers: give --from NAME or set MBOX_NAME"; return; }
  fi
  # that there is a root
  __mbox_locate "${__mbox_to:-$__mbox_o_from}"
}
# What take and peek ask for goes to awk in the environment, where a backslash
# is a backslash.
__mbox_query() {
  unset __mbox_q_id __mbox_q_reply_to __mbox_q_from __mbox_q_since
  if [ -n "$__mbox_f_id" ]; then __mbox_q_id=$__mbox_o_id; export __mbox_q_id; fi
  if [ -n "$__mbox_f_reply_to" ]; then __mbox_q_reply_to=$__mbox_o_reply_to; export __mbox_q_reply_to; fi
  if [ -n "$__mbox_f_from" ]; then __mbox_q_from=$__mbox_o_from; export __mbox_q_from; fi
  if [ -n "$__mbox_f_since" ]; then __mbox_q_since=$__mbox_o_since; export __mbox_q_since; fi
}

# Into a clean environment. Only ever in a subshell or in a script of its own.
__mbox_enter() {
  command set +eufCvxan
  # SC3044: guarded by the shell's own version variable
  # shellcheck disable=SC3044,SC2015
  if [ -n "${BASH_VERSION-}" ]; then
    command shopt -u nullglob failglob dotglob nocaseglob nocasematch
    unset GLOBIGNORE
    command trap - DEBUG ERR RETURN
  elif [ -n "${KSH_VERSION-}" ]; then
    command set +o markdirs
    command trap - DEBUG ERR
  elif [ -n "${YASH_VERSION-}" ]; then
    command set +o dotglob +o nullglob +o markdirs +o extendedglob -o caseglob
  fi 2>/dev/null
  # Functions of the user's: bash prefers them to special builtins, and mksh's
  # exec runs them. (Elsewhere `command` and exec go around them; in ksh93 this
  # would take the builtins themselves away.)
  case ${BASH_VERSION:+bash}:${KSH_VERSION-} in
    bash:*) command unset -f trap set unset exec exit return eval export shift break continue ;;
    *MIRBSD*|*LEGACY*) command unset -f date dd find ln mkdir mv od rm rmdir sh sleep stat sync tail ;;
  esac 2>/dev/null
  if [ "${MBOX_PURE-}" != 1 ] && __mbox_find_binary; then
    # so that a `mbox` that is this very file does not call itself
    MBOX_PURE=1
    export MBOX_PURE
    exec "$__mbox_binary" "$@"
  fi
  IFS=" 	$__mbox_nl"
  command umask 077                                                       # FILE-1
  LC_ALL=C
  export LC_ALL
  # a closed descriptor would be given to the next file opened
  __mbox_closed=
  { { :; } 3<&0; } 2>/dev/null || exec </dev/null
  { { :; } 3>&2; } 2>/dev/null || exec 2>/dev/null
  { { :; } 3>&1; } 2>/dev/null || { __mbox_closed=1; exec 1</dev/null; }
  # write errors and not death: a full file-size limit, a reader that left
  command trap '' PIPE
  command trap '' XFSZ 2>/dev/null
  __mbox_find_clock
  __mbox_spare_files || {
    [ "${1-}" != hook ] || exit 0                                     # HOOK-1
    __mbox_say 'too few open files are allowed; raise it with ulimit -n'
    exit 74
  }
  __mbox_main "$@"
  __mbox_status=$?
  [ -z "$__mbox_signal" ] || __mbox_die
  exit "$__mbox_status"
}
# A shell that runs out of descriptors half way has made an owner it cannot
# write. yash says so and goes on, with its own stdout where the other's was.
__mbox_spare_files() {
  if [ -n "${YASH_VERSION-}" ]; then
    [ -z "$(exec 2>&1; __mbox_nest_files)" ]
  else
    __mbox_nest_files 2>/dev/null
  fi
}
__mbox_nest_files() {
  { { { { { { { :; } </dev/null; } </dev/null; } </dev/null; } </dev/null; } </dev/null; } </dev/null; } 3<&0 4<&0 5<&0
}
# CLI-6: from here on a signal is noted, the step in hand finished, and we die
# of it at the end. Before, only stdin is read and there is nothing to undo.
__mbox_arm() {
  command trap '__mbox_signal=INT' INT
  command trap '__mbox_signal=TERM' TERM
  command trap '__mbox_signal=HUP' HUP
}
__mbox_die() {
  command trap - "$__mbox_signal"
  # In our place, because mksh never dies by a signal it has once trapped, and
  # because $$ is the parent when we are a subshell.
  (exec sh -c :) && exec sh -c 'kill -s "$0" "$$"' "$__mbox_signal"
  case $__mbox_signal in HUP) exit 129 ;; INT) exit 130 ;; *) exit 143 ;; esac
}
# SH-2, without a fork; in the user's shell, whose functions may have any name.
__mbox_find_binary() {
  __mbox_x=${PATH-}: __mbox_binary=
  while [ -z "$__mbox_binary" ] && [ -n "$__mbox_x" ]; do
    __mbox_binary=${__mbox_x%%:*}/mbox __mbox_x=${__mbox_x#*:}
    case $__mbox_binary in
      /*) [ -f "$__mbox_binary" ] && [ -x "$__mbox_binary" ] || __mbox_binary= ;;
      *) __mbox_binary= ;;
    esac
  done
  [ -n "$__mbox_binary" ]
}
# The binary at once, which needs no clean environment: a subshell that goes to
# look for it takes a quarter of the time of an append.
__mbox_call() {
  if [ "${MBOX_PURE-}" != 1 ] && __mbox_find_binary; then
    MBOX_PURE=1 command "$__mbox_binary" "$@"
  else
    (__mbox_script= && __mbox_enter "$@")
  fi
}

# ------------------------------------------------------------ public functions

mbox_append() { __mbox_call append "$@"; }
mbox_drain() { __mbox_call drain "$@"; }
mbox_peek() { __mbox_call peek "$@"; }
mbox_take() { __mbox_call take "$@"; }
mbox_send() { __mbox_call send "$@"; }
mbox_reply() { __mbox_call reply "$@"; }
mbox_release() { __mbox_call release "$@"; }

# SH-3: in the shell itself. On the left of || `set -e` is off.
mbox_has() {
  __mbox_script=
  __mbox_main has "$@" || return
}

# SH-4: taken in one subshell, printed in another, because a token that cannot
# be printed is given back.
mbox_acquire() {
  MBOX_TOKEN=$(__mbox_script= __mbox_taken= && __mbox_enter acquire "$@") || return
  case $MBOX_TOKEN in
    *"$__mbox_nl"*) # --help
      __mbox_put "$MBOX_TOKEN"
      MBOX_TOKEN=
      ;;
    *) (__mbox_script= __mbox_taken=$MBOX_TOKEN MBOX_PURE=1 && __mbox_enter acquire "$@") ;;
  esac
}

# Run as a script. (In zsh a sourced file is $0 as well.)
if [ "${0##*/}" = mbox.sh ] && [ -z "${__mbox_sticky-}" ]; then
  __mbox_script=1 __mbox_taken= __mbox_hooks=hooks
  case $0 in */*) __mbox_hooks=${0%/*}/hooks ;; esac
  __mbox_enter "$@"
fi
