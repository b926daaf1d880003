#include "quantize/rtn_search.inc"

namespace cria {

const RtnLanes kRtnLanesAvx2 = {quantize_lanes, wish_lanes, snap_lanes};

}  // namespace cria
