#include "kernels/peak/neon.h"

namespace cria {

PeakLoops peak_loops_neon_dotprod() { return dotprod_loops(); }

}  // namespace cria
