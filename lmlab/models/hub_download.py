"""One file from the Hub into Hugging Face's cache, or in words why it did not come.

lmlab.models.hub decides what to ask for, and whether what came is what it should be.
"""

from functools import partial
from pathlib import Path

from lmlab import progress


class NoAnswer(Exception):
    """The Hub did not deliver; the message is the reason."""


class NotThere(Exception):
    """The repository has no such file."""


def fetch(server, repository, commit, file, *, token, again):
    """Download a file, or go on with what was cut; return its path and its ETag.

    That the repository has no such file is noted in the cache, as a commit's files are.
    token: as huggingface_hub takes it, False to send none. again: even when the cache
    has the file. Raises NoAnswer and NotThere.
    """
    import huggingface_hub as hub
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args, **options):
            super().__init__(*args, **options | {"disable": True})

    download = partial(
        hub.hf_hub_download,
        repository,
        file,
        revision=commit,
        endpoint=server,
        cache_dir=constants.HF_HUB_CACHE,
        token=token,
        force_download=again,
        tqdm_class=None if progress.watched() else Silent,
    )
    url = hub.hf_hub_url(repository, file, revision=commit, endpoint=server)
    try:
        # Asked once and briefly: hf_hub_download would try for minutes.
        about = _about(url, token, server, download)
        if about.commit_hash != commit or about.etag is None:
            raise NoAnswer("it does not answer like the Hub: is HF_ENDPOINT right?")
        path = download()
    except errors.RemoteEntryNotFoundError:
        raise NotThere from None
    except errors.HfHubHTTPError as error:
        raise NoAnswer(_refusal(error)) from None
    except (errors.HTTPError, OSError, RuntimeError) as error:
        raise NoAnswer(_trouble(error)) from error
    return Path(path), about.etag


def _about(url, token, server, download):
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        return hub.get_hf_file_metadata(url, token=token, endpoint=server)
    except errors.RemoteEntryNotFoundError:
        download()  # which fails as well, and notes in the cache why
        raise


def _refusal(error):
    status = error.response.status_code
    if type(error).__name__ == "RevisionNotFoundError":
        return f"HTTP {status}: it has no such commit"
    if status in (401, 403, 404):
        return (
            f"HTTP {status}: there is no such repository, or it is private or gated; "
            "for your own, `hf auth login`"
        )
    return f"HTTP {status} {error.response.reason_phrase}: try again later"


def _trouble(error):
    name, text = type(error).__name__, str(error).splitlines() or [""]
    if "Timeout" in name:
        return "no answer in time"
    if "RemoteProtocol" in name or "Consistency check" in text[0]:
        return "the download was cut; what had come was removed"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror or text[0]}; no part of the file was left"
    return f"no connection ({text[0] or name})"
