// A plan -> the commands of a simulated NPU.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "format/npu_commands/npu_commands.h"
#include "format/npu_profile/npu_profile.h"
#include "format/plan/plan.h"

namespace cria {

struct NpuLoweringOptions {
  bool a8 = true;                // int8 activations for weights in a block encoding, else float
  std::int64_t max_context = 0;  // positions that the cache may have; 0: as many as fit
  // Plan buffers that other devices read behind, in scratch. What they have written before is in
  // Plan::imports.
  std::vector<std::uint32_t> exported;
};

// Activations stay in SRAM where they fit: first all of them, then all but the largest where it is
// most crowded, and so on; those lie in scratch, at the places that the plan gives them, and pass
// through SRAM a block of rows at a time. What other devices share is loaded once, and stored once,
// where several ops here use it and it fits. What is still too large is cut into smaller blocks of
// rows. A linear with a swiglu behind it is one op, whose result never exists in whole; the result
// of the method goes to the caller tile by tile. Weights are loaded a tile at a time, ahead of
// their use by as much as the ring holds, also across ops. Where the device's address window is too
// small for all, the commands are cut into contexts. Deterministic. kUnsupported: an op or a weight
// that the device cannot do, a window too small for one op, or SRAM too small for one row, naming
// what would fit.
Result<NpuCommands> lower_to_npu(const Plan& plan, const NpuProfile& profile,
                                 const NpuLoweringOptions& options);

// The order of packed weights on a device.
DeviceTiles device_tiles(const NpuProfile& profile);

// Whether the device takes groups of this encoding's size (its profile lists those that fill its
// tiles). kUnsupported: the size, those that there are, and the encoding with the same codes that
// fits: the widest narrower groups, which lose least, else the narrowest wider ones.
Status check_groups(const NpuProfile& profile, Encoding encoding);

}  // namespace cria
