"""GPUs by their published numbers, and the time that a launch takes on them on paper.

Bandwidth and peaks: NVIDIA's datasheets of the A100 Tensor Core GPU (40 GB, PCIe and SXM alike: 1,555 GB/s, 19.5 and
9.7 TFLOPS), H100 Tensor Core GPU (SXM: 3.35 TB/s, 67 and 34 TFLOPS) and H200 Tensor Core GPU (SXM: 4.8 TB/s, 67 and 34
TFLOPS). Limits of a multiprocessor: NVIDIA's Ampere and Hopper tuning guides, section "Occupancy"; how registers and
shared memory are given out: ``cuda_occupancy.h`` of the CUDA toolkit. Clocks follow from the peak of float32. A
first-level cache hands out one line of 128 bytes in a clock.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: What a copy reaches of the published bandwidth: 0.78 to 0.92 in published runs of BabelStream and alike. A guess.
REACHED = 0.9

#: Clocks until a read of memory is answered, on A100 and H100 (Ultrasonics Sonochemistry 99, 106546, 2023, table 3).
LATENCY = 400

#: Reads that a thread has under way at once. A guess: the loops over labels are unrolled.
UNDER_WAY = 4

#: Seconds from kernel to kernel of a recorded graph: 80 small ones took 70 µs (CUDA.jl, manual, "Graphs").
GAP = 0.9e-6

#: Seconds of the host for one call from Python: three took 44 µs (CuPy, user guide, "Performance Best Practices").
CALL = 15e-6


class Device(NamedTuple):
    """A GPU."""

    name: str
    architecture: str
    multiprocessors: int
    #: float32 units of a multiprocessor.
    units: int
    #: Bytes per second.
    bandwidth: float
    #: Floating-point operations per second, by dtype.
    peak: dict[str, float]

    @property
    def clock(self) -> float:
        """Clocks per second at the published peak."""
        return self.peak["float32"] / (2 * self.units * self.multiprocessors)


DEVICES = (
    Device("A100 40 GB", "sm_80", 108, 64, 1.555e12, {"float32": 19.5e12, "float64": 9.7e12}),
    Device("H100 SXM", "sm_90", 132, 128, 3.35e12, {"float32": 67e12, "float64": 34e12}),
    Device("H200", "sm_90", 132, 128, 4.8e12, {"float32": 67e12, "float64": 34e12}),
)

#: Of a multiprocessor: warps, blocks, registers; bytes of shared memory that each block adds, and there are at all.
WARPS, BLOCKS, REGISTERS, RESERVED = 64, 32, 65536, 1024
SHARED = {"sm_80": 164 * 1024, "sm_90": 228 * 1024}


def resident_blocks(architecture: str, registers: int, shared: int, threads: int) -> int:
    """Blocks of so many threads that a multiprocessor holds at once, from registers of a thread and bytes of a block.

    Registers are given out to warps, 256 at a time, by each quarter of a multiprocessor; shared memory to blocks, 128
    bytes at a time.
    """
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // 256) * 256
    by_registers = REGISTERS // 4 // of_warp * 4 // warps
    by_shared = SHARED[architecture] // (-(-(shared + RESERVED) // 128) * 128)
    return min(WARPS // warps, BLOCKS, by_registers, by_shared)


class Time(NamedTuple):
    """What a launch takes on paper, in seconds."""

    #: Bytes over the bandwidth of a copy, and as fast as the reads under way are answered; lines through first-level
    #: caches; operations over the peak.
    memory: float
    latency: float
    cache: float
    arithmetic: float
    #: Until the first read is answered and the last number is written, and from kernel to kernel.
    start: float

    @property
    def longest(self) -> float:
        """The longest of the four."""
        return max(self[:4])

    @property
    def bound(self) -> str:
        """Which of the four it is."""
        return max(self._fields[:4], key=lambda name: getattr(self, name))

    @property
    def total(self) -> float:
        """All of it."""
        return self.longest + self.start


def time_of(device: Device, launch: Any, blocks: int) -> Time:
    """Time of a launch, `blocks` of which a multiprocessor holds at once."""
    busy = min(device.multiprocessors, launch.blocks)
    threads = min(blocks * busy, launch.blocks) * launch.threads
    under_way = threads * UNDER_WAY * launch.itemsize / (LATENCY / device.clock)
    share = busy / device.multiprocessors
    return Time(
        launch.cost.bytes / (REACHED * device.bandwidth),
        launch.cost.bytes / under_way,
        launch.lines / (busy * device.clock),
        launch.cost.operations / (share * device.peak["float32" if launch.itemsize == 4 else "float64"]),
        2 * LATENCY / device.clock + GAP,
    )
