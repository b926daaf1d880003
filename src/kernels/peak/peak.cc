#include "kernels/peak/peak.h"

namespace cria {

PeakLoops peak_loops(Isa isa) {
  switch (isa) {
#if defined(CRIA_HAVE_AVX2)
    case Isa::kAvx2:
      return peak_loops_avx2();
#endif
#if defined(CRIA_HAVE_AVX512VNNI)
    case Isa::kAvx512Vnni:
      return peak_loops_avx512vnni();
#endif
#if defined(CRIA_HAVE_AMX_INT8)
    case Isa::kAmxInt8:
      return peak_loops_amx_int8();
#endif
#if defined(CRIA_HAVE_NEON_DOTPROD)
    case Isa::kNeonDotprod:
      return peak_loops_neon_dotprod();
#endif
#if defined(CRIA_HAVE_NEON_I8MM)
    case Isa::kNeonI8mm:
      return peak_loops_neon_i8mm();
#endif
    default:
      return peak_loops_generic();
  }
}

}  // namespace cria
