"""Predict how well training of a model scales over the ranks of an MPI job, on the networks that clusters have.

The time of a rank's own shard is measured here. The time of a step's exchanges is computed from the number of messages
and bytes that `funcnn.data_parallel.over_ranks` sends, and a network's latency and bandwidth: published ones, those of
the command line, and, under mpiexec with two ranks or more, those measured between the first two.
"""

from __future__ import annotations

import json
import math
import os
import time
from statistics import median
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from funcnn import losses, predictor, tree
from funcnn.data_parallel import over_threads
from funcnn.gradients import value_and_grad
from funcnn.layer import Layer
from funcnn.models.description import build


class Network(NamedTuple):
    """Seconds that a message takes, and bytes a second."""

    latency: float
    bandwidth: float


# Published figures, measured between two machines. TCP: a stream carries 9.46 Gbit/s, a message takes 20 to 30 us
# (J. Zhuang, MPI over Multiple TCP Connections on EC2 C5n Instances, https://jiaweizhuang.github.io/blog/mpi-tcp-ec2).
# InfiniBand HDR: 192 Gbit/s, 1.2 us (https://docs.azure.cn/en-us/virtual-machines/hbv3-performance).
NETWORKS = {
    "TCP at 10 Gbit/s": Network(25e-6, 9.46e9 / 8),
    "InfiniBand at 200 Gbit/s": Network(1.2e-6, 192e9 / 8),
}
RANKS = (2, 4, 8, 16, 32, 64, 128, 256)


class Traffic(NamedTuple):
    """Bytes that a rank contributes to the exchanges of a step: the gradients' sum, and each gathered array."""

    gradients: int
    gathered: list[int]


def traffic(params: Any, state: Any, outputs: Any, statistics: list[int]) -> Traffic:
    """Return a step's traffic. A layer with batch statistics gathers them forward, and two sums backward."""
    checksum, value, count = 16, outputs.itemsize, 8
    layers = [size for channels in statistics for size in (count + 2 * 4 * channels, 2 * 4 * channels)]
    return Traffic(
        sum(np.asarray(leaf).nbytes for leaf in tree.leaves(params)), [outputs.nbytes, checksum + value, *layers]
    )


def communication(sent: Traffic, ranks: int, network: Network) -> float:
    """Return the seconds that a step's exchanges take.

    Gathering takes log2 R rounds, in which each rank receives what all others have. For the sum, each rank sends R - 1
    segments of the gradients, and gathers the R - 1 other sums: 2 (R - 1) / R times the gradients' bytes.
    """
    rounds, others = math.ceil(math.log2(ranks)), ranks - 1
    total = (others + rounds) * network.latency + 2 * others / ranks * sent.gradients / network.bandwidth
    return total + sum(rounds * network.latency + others * size / network.bandwidth for size in sent.gathered)


def efficiency(computing: float, sent: Traffic, ranks: int, network: Network) -> float:
    """Return which part of their time ``ranks`` ranks compute, each with a shard that takes ``computing`` seconds."""
    return computing / (computing + communication(sent, ranks, network))


def measure_step(model: Layer, in_shape: tuple[int, ...], batch_size: int, seconds: float) -> tuple[float, Traffic]:
    """Return the median time of a step on one thread, in which nothing else runs, and its traffic between ranks."""
    params, state, _ = model.init((0,), in_shape)
    x = np.random.default_rng(0).standard_normal((batch_size, *in_shape), np.float32)
    outputs, _, _ = model.forward(params, x, state, train=True, key=(0,))
    grad_fn = over_threads(value_and_grad(model, losses.softmax_cross_entropy), 1)
    labels = np.arange(batch_size) % outputs.shape[1]
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.thread_time()
        grad_fn(params, state, x, labels, (0,))
        times.append(time.thread_time() - start)
    statistics = [np.size(leaf) for path, leaf in tree.flatten(state).items() if path.endswith("mean")]
    return median(times[1:]), traffic(params, state, outputs, statistics)


def measure_network(comm: Any) -> Network:
    """Return latency and bandwidth between the first two ranks, from messages of 1 byte and of 4 MiB."""

    def message(size: int, repeats: int) -> float:
        buffer, times = np.zeros(size, np.uint8), []
        for _ in range(repeats):
            start = time.perf_counter()
            if comm.rank == 0:
                comm.Send(buffer, 1)
                comm.Recv(buffer, 1)
            elif comm.rank == 1:
                comm.Recv(buffer, 0)
                comm.Send(buffer, 0)
            times.append((time.perf_counter() - start) / 2)
        return median(times)

    latency = message(1, 1000)
    large = 1 << 22
    return Network(latency, large / max(message(large, 50) - latency, 1e-9))


def read_model(model: str, arguments: str, in_shape: str) -> tuple[Layer, tuple[int, ...]]:
    """Return the model of a file, or of a name and arguments, and the shape of an example."""
    if model.endswith(".safetensors") or os.path.sep in model:
        trained = predictor.load(model)
        return trained.model, trained.in_shape
    return build({"name": model, "arguments": json.loads(arguments)}), tuple(map(int, in_shape.split(",")))


def main(
    model: Annotated[
        str, typer.Option(help="A function of funcnn.models, or a file that funcnn train --output wrote.")
    ] = "resnet",
    arguments: Annotated[str, typer.Option(help="Of the function, as JSON.")] = '{"outputs": 10}',
    in_shape: Annotated[str, typer.Option(help="Of an example that the function's model takes.")] = "32,32,3",
    batch_size: Annotated[int, typer.Option(min=1, help="Examples of each rank in a step.")] = 64,
    latency: Annotated[
        float | None, typer.Option(min=0, help="Of a network, in microseconds a message; with --bandwidth.")
    ] = None,
    bandwidth: Annotated[
        float | None, typer.Option(min=1e-6, help="Of this network, in GB/s between two processes.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long to measure a step.")] = 2.0,
) -> None:
    if (latency is None) != (bandwidth is None):
        raise typer.BadParameter("--latency and --bandwidth must be given together")
    networks = dict(NETWORKS)
    if latency is not None and bandwidth is not None:
        networks["given"] = Network(1e-6 * latency, 1e9 * bandwidth)
    if int(os.environ.get("PMI_SIZE", os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))) > 1:
        from mpi4py import MPI

        networks["here"] = measure_network(MPI.COMM_WORLD)
        if MPI.COMM_WORLD.rank:
            return
    try:
        print(table(*read_model(model, arguments, in_shape), batch_size, networks, seconds))
    except (ValueError, TypeError, OSError) as error:
        raise typer.BadParameter(str(error)) from None


def table(
    model: Layer, in_shape: tuple[int, ...], batch_size: int, networks: dict[str, Network], seconds: float = 2.0
) -> str:
    """Return a table of the efficiency for numbers of ranks (rows) on networks (columns)."""
    computing, sent = measure_step(model, in_shape, batch_size, seconds)
    lines = [
        f"a step of {batch_size} examples on one thread: {1000 * computing:.1f} ms; {sent.gradients / 1e6:.2f} MB of "
        f"gradients, {len(sent.gathered)} gathered arrays",
        *(f"{name}: {1e6 * n.latency:.1f} us, {n.bandwidth / 1e9:.1f} GB/s" for name, n in networks.items()),
        "ranks  " + "  ".join(networks),
    ]
    for ranks in RANKS:
        shares = (f"{efficiency(computing, sent, ranks, n):.0%}".rjust(len(name)) for name, n in networks.items())
        lines.append(f"{ranks:5}  " + "  ".join(shares))
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
