# Virtual environments for the checks against other programs; sourced from the repository's root.
#
#   venv FOLDER REQUIREMENTS   sees to it that FOLDER has what REQUIREMENTS pins: makes it where it is missing, installs
#                              what is not there in that version, torch first (its CPU build is asked for alone, so that
#                              no other package brings another one), and stays offline when all is there

has_requirements() { # FOLDER REQUIREMENTS
    [ -x "$1/bin/python" ] && "$1/bin/python" - "$2" <<'PYTHON'
import importlib.metadata
import sys

for line in open(sys.argv[1]):
    line = line.split("#")[0].strip()
    if line:
        name, version = line.split("==")
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            sys.exit(1)
        if found.split("+")[0] != version:
            sys.exit(1)
PYTHON
}

venv() {
    local folder=$1 requirements=$2 torch log
    has_requirements "$folder" "$requirements" && return 0
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            echo "missing packages (Debian names): python3-venv" >&2
            echo "install them as root:  apt-get install --no-install-recommends python3-venv" >&2
            return 1
        fi
        echo "interop: installing python3-venv"
        log=$(mktemp)
        if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; } \
            >"$log" 2>&1; then
            tail -n 20 "$log" >&2
            rm -f "$log"
            return 1
        fi
        rm -f "$log"
    fi
    echo "interop: installing $(grep -c '==' "$requirements") packages and what they need into $folder"
    [ -x "$folder/bin/pip" ] || python3 -m venv "$folder" || return 1
    torch=$(grep '^torch==' "$requirements")
    { [ -z "$torch" ] || "$folder/bin/pip" --disable-pip-version-check -qq install "$torch"; } &&
        "$folder/bin/pip" --disable-pip-version-check -qq install -r "$requirements" || return 1
    has_requirements "$folder" "$requirements"
}
