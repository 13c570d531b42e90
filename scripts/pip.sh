# shellcheck shell=bash disable=SC2154  # cache, downloads, fail and others come from parts.sh
#
# Getting pinned packages with pip. Sourced after parts.sh by the scripts that download; the person's own pip settings
# (index, proxy, certificates, offline folders) stay in force.

# Runs a pip of our own, since a system's pip may be missing or may refuse to work outside a virtual environment.
pip() {
    local venv=$cache/pip
    # A venv dies with the Python it was made from.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 || fail "python3 cannot make a virtual environment in $venv"
    fi
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" >&2
}

# fetch REQUIREMENT FILE SHA256 [pip option…]: prints where the verified file lies.
# pip compares the hash before it runs anything that came with the file.
fetch() {
    local requirement=$1 file=$2 sha256=$3
    shift 3
    local cached=$downloads/$file partial
    if ! has_sha256 "$cached" "$sha256"; then
        say "downloading $requirement"
        mkdir -p "$downloads"
        partial=$downloads/partial
        rm -rf "$partial"
        mkdir "$partial"
        printf '%s --hash=sha256:%s\n' "$requirement" "$sha256" >"$partial/requirements.txt"
        pip download --quiet --no-deps --require-hashes --dest "$partial" "$@" --requirement "$partial/requirements.txt" ||
            fail "pip could not download $requirement; put the file $file (sha256 $sha256) into $downloads to go on without a network"
        has_sha256 "$partial/$file" "$sha256" || fail "what pip downloaded as $requirement is not the file with sha256 $sha256"
        mv -f "$partial/$file" "$cached"
        rm -rf "$partial"
    fi
    printf '%s\n' "$cached"
}

# install_python NAME LOCK: a Python of its own with the locked packages, in the folder that find_installed looks for.
install_python() {
    local folder
    folder=$(folder_for "$1" "$2")
    say "installing $1 into $folder"
    rm -rf "$folder"
    python3 -m venv --without-pip "$folder" &&
        pip --python "$folder/bin/python" install --quiet --require-hashes --only-binary :all: --requirement "$2" &&
        : >"$folder/complete"
}
