#include "quantize/rtn_search.inc"

namespace cria {

const RtnLanes kRtnLanesGeneric = {quantize_lanes, wish_lanes, snap_lanes};

}  // namespace cria
