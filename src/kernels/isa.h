// The names of all kernels: <op>_<isa>, one a line of kernels.inc.
#pragma once

#include "kernels/kernels.h"

namespace cria {

#define CRIA_GENERIC_KERNEL(op, Args) void op##_generic(const Args& args);
#define CRIA_AVX2_KERNEL(op, Args) void op##_avx2(const Args& args);
#define CRIA_AVX512VNNI_KERNEL(op, Args)  \
  void op##_avx512vnni(const Args& args); \
  void op##_avx512vnni_emulated(const Args& args);  // in kernels_test, for processors without
#define CRIA_AMX_INT8_KERNEL(op, Args)  \
  void op##_amx_int8(const Args& args); \
  void op##_amx_int8_emulated(const Args& args);  // likewise
#define CRIA_NEON_DOTPROD_KERNEL(op, Args) void op##_neon_dotprod(const Args& args);
#define CRIA_NEON_I8MM_KERNEL(op, Args) void op##_neon_i8mm(const Args& args);
#include "kernels/kernels.inc"

}  // namespace cria
