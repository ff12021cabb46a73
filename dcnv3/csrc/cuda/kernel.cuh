// What NVRTC compiles: the kernel that -DKERNEL, -DSETUP and -DTHREADS name.
#define DCNV3_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

#include "backward.cuh"
#include "forward.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) dcnv3_kernel(const __grid_constant__ dcnv3::Arguments arguments) {
    dcnv3::KERNEL<dcnv3::SETUP>(arguments);
}
