// The AVX-512 kernels once more, in terms of AVX2: kernels_test holds them against generic on
// processors without AVX-512.
#define CRIA_EMULATE_AVX512 1
#include "kernels/attention/amx_int8.cc"
#include "kernels/attention/avx512vnni.cc"
#include "kernels/linear_a16/avx512vnni.cc"
#include "kernels/linear_a8/amx_int8.cc"
#include "kernels/linear_a8/avx512vnni.cc"
#include "kernels/quantize_a8/avx512vnni.cc"
