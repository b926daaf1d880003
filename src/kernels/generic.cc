// The specification as kernels, for processors without kernels of their own and for tests.
#include "kernels/activation/generic.h"

#include "kernels/attention/generic.h"
#include "kernels/elementwise/generic.h"
#include "kernels/hadamard/generic.h"
#include "kernels/isa.h"
#include "kernels/linear_a16/generic.h"
#include "kernels/linear_a8/generic.h"
#include "kernels/quantize_a8/generic.h"
#include "kernels/rms_norm/generic.h"
#include "kernels/rope/generic.h"
#include "kernels/softmax/generic.h"
#include "kernels/store_f16/generic.h"
#include "kernels/store_q8/generic.h"

namespace cria {

#define CRIA_GENERIC_KERNEL(op, Args) \
  void op##_generic(const Args& args) { spec::op(args); }
#include "kernels/kernels.inc"

}  // namespace cria
