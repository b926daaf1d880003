// linear_a8 with AVX-512 VNNI.
//
// vpdpbusd adds four products of unsigned and signed bytes to each 32-bit lane: a plane of a panel
// (16 rows of 4 columns) times a quad of activations, broadcast from memory. Codes are brought to
// unsigned bytes u = value + offset; the sum starts at what the offset adds, negated, so that
// taking it off costs nothing:
//
//   sum value x = -offset * sum x + sum u x
//
// and, of many tokens, at the bits of a float above that, so that becoming one costs a subtraction
// (avx512.h).
//
// How, depends on the number of tokens: one or two (vnni_few.h), some (vnni_some.h), many
// (vnni_many.h).
#include "kernels/isa.h"
#include "kernels/linear_a8/vnni_few.h"
#include "kernels/linear_a8/vnni_many.h"
#include "kernels/linear_a8/vnni_some.h"

namespace cria {
namespace avx512 {
namespace {

template <Encoding encoding>
void linear_a8_of(const LinearA8Args& args) {
  switch (args.n_tokens) {
    case 0:
      return;
    case 1:
      return run_few_rows<encoding, 1>(args);
    case 2:
      return run_few_rows<encoding, 2>(args);
    default:
      return args.n_tokens <= kSomeTokens<encoding> ? run_pairs<encoding>(args)
                                                    : run_many_rows<encoding>(args);
  }
}

}  // namespace
}  // namespace avx512

void CRIA_AVX512VNNI_NAME(linear_a8)(const LinearA8Args& args) {
  switch (kernel_form(args.encoding)) {
#define CRIA_CASE(name) \
  case Encoding::name:  \
    return avx512::linear_a8_of<Encoding::name>(args);
    CRIA_FOR_EACH_BLOCK_ENCODING(CRIA_CASE)
#undef CRIA_CASE
    default:
      return;  // dense weights have no a8 form
  }
}

}  // namespace cria
