#include "lowered_decoder.h"

#include "delegates/sim_npu/sim_npu_delegate.h"
#include "runtime/test_program.h"
#include "targets/sim_npu/lower_to_npu.h"

namespace cria {
namespace {

Status replace(std::string& text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  if (at == std::string::npos) return internal_error("the profile has no '{}'", from);
  text.replace(at, from.size(), to);
  return {};
}

void to_device_order(const NpuWeight& w, std::vector<std::byte>& panels) {
  std::vector<std::byte> strips(panels.size());
  const std::size_t strip = w.tiles.strip_panels * panel_layout(w.encoding, w.n_cols).size_bytes;
  for (std::size_t at = 0; at < panels.size(); at += strip) {
    const std::size_t n = std::min(strip, panels.size() - at);
    to_device_strip(w.tiles, w.encoding, w.n_cols, std::span(panels).subspan(at, n),
                    std::span(strips).subspan(at, n));
  }
  panels = std::move(strips);
}

}  // namespace

Result<NpuProfileFile> device_with_sram(std::uint64_t sram_bytes) {
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile file, load_npu_profile("hexagon-v79"));
  CRIA_RETURN_IF_ERROR(replace(file.text, "bytes = { value = 8388608",
                               "bytes = { value = " + std::to_string(sram_bytes)));
  CRIA_RETURN_IF_ERROR(replace(file.text, "[0, 32, 64, 128]", "[0, 16, 32, 64, 128, 256]"));
  CRIA_ASSIGN_OR_RETURN(file.profile, parse_npu_profile(file.text, "test"));
  return file;
}

Result<NpuCommands> lower_decoder(const Plan& plan, const NpuProfileFile& device, bool a8) {
  NpuLoweringOptions options;
  options.a8 = a8;
  options.max_context = kContext;
  CRIA_ASSIGN_OR_RETURN(NpuCommands commands, lower_to_npu(plan, device.profile, options));
  commands.profile_text = device.text;
  return commands;
}

Status write_lowered(const std::string& path, const DecoderShape& shape, WeightBytes weights,
                     const NpuProfileFile& device, bool a8) {
  pte::ProgramSpec spec = decoder_spec(shape, sim_npu_delegate()->name);
  for (pte::MethodSpec& method : spec.methods) {
    CRIA_ASSIGN_OR_RETURN(const Plan plan, decode_plan(method.blob, "plan"));
    CRIA_ASSIGN_OR_RETURN(const NpuCommands commands, lower_decoder(plan, device, a8));
    method.blob = encode_npu_commands(commands);
    if (method.name != "verify") continue;
    for (const NpuWeight& w : commands.weights) {
      if (w.packed) to_device_order(w, weights[w.key]);
    }
  }
  return write_program(path, std::move(spec), weights);
}

}  // namespace cria
