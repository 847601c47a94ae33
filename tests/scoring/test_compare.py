"""Rows of activations compared: compiled or in pieces, the same sums."""

import pytest
import torch
from torch._dynamo.utils import counters

from perceptbench.scoring.compiling import Compiler
from perceptbench.scoring.primitives import row_values, row_values_in_pieces


def taps(count):
    """Activations, powers and heads as a network with so many taps has them."""
    generator = torch.Generator().manual_seed(count)

    def rand(*shape):
        return torch.rand(*shape, generator=generator)

    return [
        (rand(40, 8 + n), rand(40, 8 + n), [1.0, 2.0, 3.5][: 1 + count % 3],
         [(rand(40, 1), rand(40, 1), [rand(8 + n)] * (1 + count % 2))])
        for n in range(count)
    ]  # fmt: skip


def test_sums_in_pieces_are_the_sums_written_out():
    for x, y, powers, ((scale_x, scale_y, heads),) in taps(3):
        (found,) = row_values_in_pieces([(x, y, powers, [(scale_x, scale_y, heads)])])
        expected = [((x - y).abs() ** p).sum(1) for p in powers]
        expected += [((x * scale_x - y * scale_y) ** 2 * head).sum(1) for head in heads]
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_more_kinds_of_networks_than_torch_compiles_by_itself_are_compiled():
    torch._dynamo.reset()
    counters.clear()
    compiled = Compiler(pytest.fail).compiled
    kernel = compiled(row_values, row_values_in_pieces, dynamic=True)
    for count in range(1, 11):  # torch gives up after eight
        with torch.inference_mode():
            found, expected = kernel(taps(count)), row_values_in_pieces(taps(count))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == 10
