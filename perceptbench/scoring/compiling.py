"""What goes through ``torch.compile`` in a large job, and as it is where that fails."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from perceptbench.errors import first_line

#: Kinds of networks (numbers of taps, powers and heads) that are compiled in one process.
KINDS = 256

Function = TypeVar("Function", bound=Callable[..., Any])


class Compiler:
    """Compiles functions, and says once where nothing can be compiled.

    Parameters
    ----------
    say : takes the sentence.
    """

    def __init__(self, say: Callable[[str], Any]) -> None:
        self.say, self.fails = say, False
        # Beyond it a kind of network is compared without a compiler, and nothing is said.
        torch._dynamo.config.recompile_limit = KINDS

    def compiled(self, function: Function, instead: Function, dynamic: bool) -> Function:
        """A function compiled at its first call; `instead` of it where that fails.

        Parameters
        ----------
        dynamic : whether for tensors of any size, or anew for every size.
        """
        fused = torch.compile(function, dynamic=dynamic)

        def either(*arguments: Any) -> Any:
            if not self.fails:
                try:
                    return fused(*arguments)
                except Exception as error:  # dynamo, inductor and the C++ compiler raise many kinds
                    self.fails, why = True, first_line(error)
                    self.say(f"torch.compile does not work here ({why}); going on without it")
            return instead(*arguments)

        return either  # type: ignore[return-value]
