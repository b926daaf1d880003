#include "kernels/kernels.h"

#include <cmath>

#include "kernels/isa.h"

namespace cria {
namespace {

constexpr Kernels generic_kernels() {
  return {
#define CRIA_GENERIC_KERNEL(op, Args) .op = op##_generic,
#include "kernels/kernels.inc"
  };
}

#if defined(CRIA_HAVE_AVX2)
constexpr Kernels avx2_kernels() {
  Kernels kernels = generic_kernels();
#define CRIA_AVX2_KERNEL(op, Args) kernels.op = op##_avx2;
#include "kernels/kernels.inc"
  return kernels;
}
constexpr Kernels kAvx2Kernels = avx2_kernels();
#endif

#if defined(CRIA_HAVE_AVX512VNNI)
constexpr Kernels avx512vnni_kernels() {
  Kernels kernels = avx2_kernels();
#define CRIA_AVX512VNNI_KERNEL(op, Args) kernels.op = op##_avx512vnni;
#include "kernels/kernels.inc"
  return kernels;
}
constexpr Kernels kAvx512VnniKernels = avx512vnni_kernels();
#endif

#if defined(CRIA_HAVE_AMX_INT8)
constexpr Kernels amx_int8_kernels() {
  Kernels kernels = avx512vnni_kernels();
#define CRIA_AMX_INT8_KERNEL(op, Args) kernels.op = op##_amx_int8;
#include "kernels/kernels.inc"
  return kernels;
}
constexpr Kernels kAmxInt8Kernels = amx_int8_kernels();
#endif

#if defined(CRIA_HAVE_NEON_DOTPROD)
constexpr Kernels neon_dotprod_kernels() {
  Kernels kernels = generic_kernels();
#define CRIA_NEON_DOTPROD_KERNEL(op, Args) kernels.op = op##_neon_dotprod;
#include "kernels/kernels.inc"
  return kernels;
}
constexpr Kernels kNeonDotprodKernels = neon_dotprod_kernels();
#endif

#if defined(CRIA_HAVE_NEON_I8MM)
constexpr Kernels neon_i8mm_kernels() {
  Kernels kernels = neon_dotprod_kernels();
#define CRIA_NEON_I8MM_KERNEL(op, Args) kernels.op = op##_neon_i8mm;
#include "kernels/kernels.inc"
  return kernels;
}
constexpr Kernels kNeonI8mmKernels = neon_i8mm_kernels();
#endif

constexpr Kernels kGenericKernels = generic_kernels();

}  // namespace

const Kernels& kernels_for(Isa isa) {
  switch (isa) {
#if defined(CRIA_HAVE_AVX2)
#if !defined(CRIA_HAVE_AVX512VNNI)
    case Isa::kAmxInt8:  // includes AVX2
    case Isa::kAvx512Vnni:
#endif
    case Isa::kAvx2:
      return kAvx2Kernels;
#endif
#if defined(CRIA_HAVE_AVX512VNNI)
#if !defined(CRIA_HAVE_AMX_INT8)
    case Isa::kAmxInt8:  // includes AVX-512 VNNI
#endif
    case Isa::kAvx512Vnni:
      return kAvx512VnniKernels;
#endif
#if defined(CRIA_HAVE_AMX_INT8)
    case Isa::kAmxInt8:
      return kAmxInt8Kernels;
#endif
#if defined(CRIA_HAVE_NEON_DOTPROD)
    case Isa::kNeonDotprod:
      return kNeonDotprodKernels;
#endif
#if defined(CRIA_HAVE_NEON_I8MM)
    case Isa::kNeonI8mm:
      return kNeonI8mmKernels;
#endif
    default:
      return kGenericKernels;
  }
}

void rope_angles(std::int64_t position, const float* inv_freq, std::int64_t half_dim, float* cos,
                 float* sin) {
  for (std::int64_t i = 0; i < half_dim; ++i) {
    // In float, an angle of 100000 radians would be off by 0.004.
    const double angle = static_cast<double>(position) * static_cast<double>(inv_freq[i]);
    cos[i] = static_cast<float>(std::cos(angle));
    sin[i] = static_cast<float>(std::sin(angle));
  }
}

}  // namespace cria
