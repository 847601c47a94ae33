"""Where a download may be led to: to another host, but never from https to anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:
    import requests


def stay_encrypted(answer: requests.Response, **_: Any) -> None:
    """A response hook of requests: refuses a redirect from https before it is followed.

    Archives such as Zenodo, OSF and Hugging Face lead from their own address to a storage host's,
    which the encrypted answer vouches for; one that is not encrypted anybody on the way could give.

    Raises
    ------
    requests.exceptions.InvalidSchema : it leads to an address that is not https.
    """
    import requests

    if not answer.is_redirect or urlsplit(answer.url).scheme != "https":
        return
    target = urljoin(answer.url, answer.headers["Location"])
    if urlsplit(target).scheme != "https":
        raise requests.exceptions.InvalidSchema(f"it leads from https to {target}")
