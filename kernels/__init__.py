"""The kernels of gpulaf: a file each, three implementations of one formula.

===================  =============================  ==========================================
file                 computes                       meaning
===================  =============================  ==========================================
similarity           S = softmax(Ω ℓ)               the linearization point, (2.17)
operator             y = R_S Ω v                    one product with A, (2.22)
adjoint              y = Ωᵀ R_S u                   one product with Aᵀ, gather form
weight_gradient      ∂Ω and z = R_S c               chain rule of the closed-form gradient
reverse_horner       ∂Ω of a Taylor solution        series, adjoint and chain rule in one wave
inner_products       G_kp = ⟨q_k, x_p⟩              Gram–Schmidt, Gram matrices
combination          y_r = s_r + Σ_k c_rk q_k       Gram–Schmidt, low rank
prediction           Ω̂ = exp_1(softmax(−σd) ν)      weight patches from features; no ``gpu`` yet
===================  =============================  ==========================================

Layout. Fields are (H, J, W), rows of labels, x fastest, C-contiguous; weight patches are (H, N, W) with N = (2r+1)²
offsets in row-major order and the centre at N//2. ``weights[y, o, x]`` belongs to the pixel (y, x) and looks at
the neighbor (y, x) + offset(o). On volumes fields are (D, H, J, W), patches (D, H, N, W) with N = (2r+1)³. The stencils
have one code for both, where an image is a volume of one plane whose neighborhood reaches no other. Axes before these
are a batch of images; weights without them serve all images.

Border. A neighbor outside the image is never read, whatever its weight: every patch lives on the neighbors that
exist. There is no padding rule and no special case in the adjoint.

Each file holds, in this order: the docstring with the formula, ``reference`` (array API code, the definition, any
library and any number of spatial axes), ``cpu`` (Numba, two and three axes, float32 and float64) and ``gpu`` (CuPy, the
same, in volumes up to 3×3×3), which launches the ``.cu`` file of the same name. All implementations are gathers: one
output is written by one worker, in one order of summation, so results repeat bit for bit, and a pixel gets the same
bits wherever it lies in the array.

On the CPU, ``rows`` holds the loops over rows of labels that the stencils share, ``wave`` products in succession,
``exponential`` e^x in vector lanes, and ``_numba`` compiles kernels and shares rows among threads.

Kernels read whatever memory lies behind an array that is too small: ``cpu`` and ``gpu`` check the shapes and dtypes of
all operands as they begin (``stencil.check_shapes``, ``check_dtypes``, ``check_flat``), which takes microseconds. The
labels of the truth, the only numbers in an array that say where to read, are compared with J where they do.

To add a kernel: write ``reference`` first, then ``cpu``; add it to ``tests/kernels/bounds.py``, which runs every kernel
with Numba's bounds checks, and to ``tests/kernels/test_kernels.py``, which holds every implementation against
``reference`` on odd sizes, and call it from ``gpulaf.averaging.grid``. For the GPU write the ``.cu`` file on top of
``common.cuh`` and a ``gpu`` that calls ``_cuda.launch``; ``tests/kernels/cuda_host.py`` runs that text without a GPU
and ``tests/kernels/test_cuda_compile.py`` compiles it: add the kernel to both.

Nothing here imports another part of gpulaf, and nothing is compiled at import.
"""
