// Small random decoders, lowered to the commands of a simulated NPU.
#pragma once

#include <functional>

#include "format/npu_commands/npu_commands.h"
#include "format/npu_profile/npu_profile.h"
#include "tiny_decoder.h"

namespace cria {

// hexagon-v79 with so much SRAM, which takes groups of 16 as well, as no profile that ships does.
// `window_bytes`: of its address window, smaller than the text of a profile may say; 0: as it is.
Result<NpuProfileFile> device_with_sram(std::uint64_t sram_bytes, std::uint64_t window_bytes = 0);

// One method's commands, with the profile's text in them.
Result<NpuCommands> lower_decoder(const Plan& plan, const NpuProfileFile& device, bool a8);

// The program of write_decoder() for the device: each plan lowered, weights in the device's order.
Status write_lowered(const std::string& path, const DecoderShape& shape, WeightBytes weights,
                     const NpuProfileFile& device, bool a8);

// The plan with attention in three ops; `in_two`: of each half of the heads.
Plan with_split_attention(Plan plan, bool in_two);

// The parts of such a plan that the device runs, where the processor makes weights of scores.
Result<std::vector<NpuCommands>> lower_heads(const Plan& split, const NpuProfileFile& device,
                                             bool a8);

// The program of a decoder with attention in three ops that the device and the processor share:
// `on_npu` says of an op of a plan where it runs. The device's weights are copies under other keys.
using OnNpu = std::function<bool(const Plan& plan, std::size_t op)>;
Status write_shared(const std::string& path, const DecoderShape& shape, WeightBytes weights,
                    const NpuProfileFile& device, bool a8, const OnNpu& on_npu);

}  // namespace cria
