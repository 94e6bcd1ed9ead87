#!/bin/sh
# Usage: make_venv.sh PYTHON FOLDER
# Makes a virtual environment in FOLDER, or says in one line why it cannot. A usable one that is there already is kept.
set -eu
python=$1
folder=$2

fail() {
    echo "$1" >&2
    exit 2
}

recent='import sys; sys.exit(sys.version_info < (3, 11))'

if "$folder/bin/python" -c "$recent" 2>/dev/null && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

command -v "$python" >/dev/null 2>&1 ||
    fail "'$python' was not found: install Python 3.11 or newer, or name it, as in: make PYTHON=python3.12 project-1"
"$python" -c "$recent" ||
    fail "'$python' is $("$python" --version 2>&1), but 3.11 or newer is needed: name one, as in: make PYTHON=python3.12 project-1"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "'$python' lacks the venv module: on Debian and Ubuntu, install it with: apt install python3-venv"
"$python" -m venv --clear "$folder" ||
    { rm -rf "$folder"; fail "'$python' could not make a virtual environment in $folder: its message stands above"; }
