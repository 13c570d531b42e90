"""The official huggingface_hub package and a cache that it shares with snug.

HF_ENDPOINT     a hub that has the repository
HF_HUB_CACHE    the cache

    check.py get REPOSITORY FILE…   gets the files as anybody would, from the cache or from the hub
    check.py has REPOSITORY FILE…   the cache must have them: nothing is asked for, and the cache must be in order

Prints where each file is, one a line; exits with 1 if something is not as it should be. Run it with ./run, which knows
where the package is installed.
"""

import os
import sys

from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache


def get(repository, files):
    paths = [hf_hub_download(repository, file) for file in files]
    # The same in another way: a whole snapshot, of these files.
    folder = snapshot_download(repository, allow_patterns=files)
    assert paths == [os.path.join(folder, file) for file in files], (folder, paths)
    return paths


def has(repository, files):
    paths = [try_to_load_from_cache(repository, file) for file in files]
    assert paths == [hf_hub_download(repository, file, local_files_only=True) for file in files], paths
    info = scan_cache_dir()
    assert not info.warnings, info.warnings
    (found,) = [repo for repo in info.repos if repo.repo_id == repository]
    (revision,) = found.revisions
    assert revision.refs == {"main"}, revision
    assert {str(file.file_path) for file in revision.files} == set(paths), revision.files
    # What it would remove is what is there: links and blobs belong together.
    assert info.delete_revisions(revision.commit_hash).expected_freed_size == found.size_on_disk, found
    assert found.size_on_disk == sum(os.path.getsize(path) for path in set(map(os.path.realpath, paths))), found
    return paths


def main():
    order, repository, *files = sys.argv[1:]
    for path in {"get": get, "has": has}[order](repository, files):
        print(path)


if __name__ == "__main__":
    main()
