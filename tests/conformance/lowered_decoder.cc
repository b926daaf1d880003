#include "lowered_decoder.h"

#include <algorithm>
#include <iterator>

#include "base/aligned_buffer.h"
#include "delegates/cpu/cpu_delegate.h"
#include "delegates/sim_npu/sim_npu_delegate.h"
#include "format/pte/call_order.h"
#include "format/pte/llm_method.h"
#include "runtime/test_program.h"
#include "targets/sim_npu/lower_to_npu.h"
#include "targets/split_plan.h"

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

Result<NpuProfileFile> device_with_sram(std::uint64_t sram_bytes, std::uint64_t window_bytes) {
  CRIA_ASSIGN_OR_RETURN(NpuProfileFile file, load_npu_profile("hexagon-v79"));
  CRIA_RETURN_IF_ERROR(replace(file.text, "bytes = { value = 8388608",
                               "bytes = { value = " + std::to_string(sram_bytes)));
  CRIA_RETURN_IF_ERROR(replace(file.text, "[0, 32, 64, 128]", "[0, 16, 32, 64, 128, 256]"));
  CRIA_ASSIGN_OR_RETURN(file.profile, parse_npu_profile(file.text, "test"));
  if (window_bytes > 0) file.profile.limits.va_bytes = window_bytes;
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

Plan with_split_attention(Plan plan, bool in_two) {
  std::vector<PlanOp> ops;
  for (PlanOp& op : plan.ops) {
    if (op.kind != PlanOpKind::kAttention) {
      ops.push_back(std::move(op));
      continue;
    }
    const std::int32_t n_kv_heads = plan.kv.n_kv_heads, group = op.n_heads / n_kv_heads;
    PlanOp third = op;
    third.n_kv_heads = in_two ? n_kv_heads / 2 : n_kv_heads;
    third.n_heads = third.n_kv_heads * group;
    third.block = (kContext + kScorePositions - 1) / kScorePositions;
    std::vector<PlanOp> behind;
    for (std::int32_t head = 0; head < n_kv_heads; head += third.n_kv_heads) {
      PlanBuffer rows{.name = plan.buffers[op.out].name + ".scores",
                      .width = third.n_heads * third.block * kScoreRecord,
                      .offset_bytes = align_up(plan.scratch_bytes, kVectorAlignment)};
      plan.scratch_bytes = rows.offset_bytes +
                           static_cast<std::uint64_t>(rows.width * plan.max_tokens) * sizeof(float);
      third.kv_head = head;
      PlanOp scores = third, softmax = third, mix = third;
      scores.kind = PlanOpKind::kScores;
      scores.column = op.column + head * group * plan.kv.head_dim;
      softmax.kind = PlanOpKind::kSoftmax;
      softmax.x = kNoBuffer;
      mix.kind = PlanOpKind::kMix;
      scores.out = softmax.out = mix.x = static_cast<std::uint32_t>(plan.buffers.size());
      softmax.column = mix.column = 0;
      plan.buffers.push_back(std::move(rows));
      ops.push_back(std::move(scores));
      behind.push_back(std::move(softmax));
      behind.push_back(std::move(mix));
    }
    std::ranges::move(behind, std::back_inserter(ops));
  }
  plan.ops = std::move(ops);
  return plan;
}

namespace {

Result<NpuCommands> lower_part(const PlanPart& part, const NpuProfileFile& device, bool a8) {
  NpuLoweringOptions options;
  options.a8 = a8;
  options.max_context = kContext;
  options.exported = part.exports;
  CRIA_ASSIGN_OR_RETURN(NpuCommands commands, lower_to_npu(part.plan, device.profile, options));
  commands.profile_text = device.text;
  return commands;
}

// What the device multiplies with, in its own order and under its own key.
Result<std::vector<std::byte>> lower_part(PlanPart& part, const NpuProfileFile& device, bool a8,
                                          WeightBytes& weights) {
  for (PlanWeight& w : part.plan.weights) {
    const std::string own = w.key + ".npu";
    const bool is_new = weights.emplace(own, weights[w.key]).second;
    w.key = own;
    if (is_new && w.packed)
      to_device_order({w.key, w.encoding, true, w.n_rows, w.n_cols, device_tiles(device.profile)},
                      weights[own]);
  }
  CRIA_ASSIGN_OR_RETURN(const NpuCommands commands, lower_part(part, device, a8));
  return encode_npu_commands(commands);
}

}  // namespace

Result<std::vector<NpuCommands>> lower_heads(const Plan& split, const NpuProfileFile& device,
                                             bool a8) {
  std::vector<bool> on_npu;
  for (const PlanOp& op : split.ops) on_npu.push_back(op.kind != PlanOpKind::kSoftmax);
  std::vector<NpuCommands> parts;
  for (const PlanPart& part : split_plan(split, on_npu)) {
    if (!part.on_npu) continue;
    CRIA_ASSIGN_OR_RETURN(parts.emplace_back(), lower_part(part, device, a8));
  }
  return parts;
}

Status write_shared(const std::string& path, const DecoderShape& shape, WeightBytes weights,
                    const NpuProfileFile& device, bool a8, const OnNpu& on_npu) {
  pte::ProgramSpec spec = decoder_spec(shape, cpu_delegate()->name);
  for (pte::MethodSpec& method : spec.methods) {
    CRIA_ASSIGN_OR_RETURN(const Plan whole, decode_plan(method.blob, "plan"));
    const Plan plan = with_split_attention(whole, method.name != "decode");
    std::vector<bool> places(plan.ops.size());
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = on_npu(plan, i);
    std::vector<pte::DelegateSpec> parts;
    for (PlanPart& part : split_plan(plan, places)) {
      pte::DelegateSpec made{.id = cpu_delegate()->name, .blob = encode_plan(part.plan)};
      if (part.on_npu) {
        made.id = sim_npu_delegate()->name;
        CRIA_ASSIGN_OR_RETURN(made.blob, lower_part(part, device, a8, weights));
      }
      made.compile_specs = {pte::call_order_spec(part.after)};
      parts.push_back(std::move(made));
    }
    method.compile_specs = parts[0].compile_specs;
    method.delegate_id = parts[0].id;
    method.blob = std::move(parts[0].blob);
    method.then.assign(parts.begin() + 1, parts.end());
    const bool all_rows = method.name == "verify";
    method.arguments = *pte::llm_arguments({.max_tokens = plan.max_tokens,
                                            .n_positions = kContext,
                                            .bytes_per_position = plan.kv.bytes_per_position(),
                                            .scratch_bytes = plan.scratch_bytes,
                                            .n_vocab = plan.n_vocab,
                                            .all_rows = all_rows});
  }
  return write_program(path, std::move(spec), weights);
}

}  // namespace cria
