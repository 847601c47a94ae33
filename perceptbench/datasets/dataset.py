"""A dataset: judgement tables, and what turns the image keys in them into tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perceptbench.datasets.judgements.protocols import PROTOCOLS, Judgements
from perceptbench.datasets.judgements.tables import spelled

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Dataset:
    """Judgements and images under one name.

    Attributes
    ----------
    name : what the user calls it and what stands in every table.
    judgements : one or more tables; their image keys mean the same to `load`.
    load : image key -> float32 tensor (3, H, W) in [0, 1], sRGB-coded; raises DataError
        where there is no such image.
    folder : where the keys are relative paths of image files; None for computed images.
    in_domain : metrics that were trained or tuned on it.
    at_hand : whether `load` can load anything: published scores are ranked without images.
    left_out : what of the dataset is not in the tables because this copy lacks it, in sentences.
    assumed : what was assumed to read it, in sentences.
    """

    name: str
    judgements: tuple[Judgements, ...]
    load: Callable[[str], torch.Tensor]
    folder: Path | None = None
    in_domain: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    at_hand: bool = True

    def fingerprint(self) -> str:
        """sha256 over the judgements and, where images are files, over their bytes.

        Computed images are covered by the judgements and the display they are computed for.
        """
        digest = hashlib.sha256()
        keys: set[str] = set()
        for part in self.judgements:
            digest.update(f"{part.dataset} {part.slice} {part.display}\n".encode())
            digest.update(part.table.to_csv(index=False).encode())
            for column in PROTOCOLS[part.protocol][1]:
                keys.update(part.table[column])
        if self.folder is not None and self.at_hand:
            for key in sorted(keys):
                digest.update(f"{key}\n".encode())
                with suppress(OSError):  # what cannot be read is named when it is scored
                    content = spelled(self.folder, key).read_bytes()
                    digest.update(hashlib.sha256(content).digest())
        return digest.hexdigest()
