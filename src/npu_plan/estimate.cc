#include "npu_plan/estimate.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <optional>

#include "format/plan/plan_cost.h"

namespace cria {
namespace {

constexpr double kHalf = 2;            // bytes of an activation on the device
constexpr double kDmaChunk = 1 << 20;  // bytes that weights come in

std::optional<MatrixMode> mode_of(const NpuProfile& profile, Encoding encoding) {
  using enum MatrixMode;
  const EncodingSpec spec = encoding_spec(encoding);
  const auto first = [&](std::initializer_list<MatrixMode> modes) -> std::optional<MatrixMode> {
    for (const MatrixMode mode : modes) {
      if (profile.matrix.mode(mode)) return mode;
    }
    return std::nullopt;
  };
  if (spec.dense()) return first({kF16});
  if (spec.bits <= 4) return first({kA8W4, kA16W4});
  return first({kA8W8, kA16W8});
}

// The parts of an op on the device that run beside each other, and what comes before and after
// them.
struct Parts {
  double dma = 0, matrix = 0, vector = 0;  // seconds
  double fixed = 0;  // seconds of the vector engine's commands that nothing hides
  double macs = 0, sram_bytes = 0, dram_bytes = 0;
  double pj_per_mac = 0;
};

class Device {
 public:
  Device(const NpuProfile& profile, const EstimateCall& call)
      : profile_(profile), state_(profile.state(call.clock_state)), call_(call) {}

  double dma_seconds(double bytes, double piece) const {
    const double rate = profile_.dram_bytes_per_s(call_.clock_state) * profile_.dma.share(piece);
    return bytes / rate + profile_.dma.latency_ns * 1e-9;
  }

  // A vector command over `elements`, `cycles` a vector, on all contexts.
  double vector_seconds(double elements, double cycles) const {
    return profile_.vector.start_cycles / (state_.vector_mhz * 1e6) +
           work_seconds(elements, cycles, profile_.vector.contexts);
  }
  double work_seconds(double elements, double cycles, double contexts) const {
    const double vectors = std::ceil(elements * kHalf / profile_.vector.lane_bytes);
    const double compute = std::ceil(vectors / contexts) * cycles / (state_.vector_mhz * 1e6);
    const double sram =
        2 * elements * kHalf / (profile_.sram.bytes_per_cycle_to_vector * state_.bus_mhz * 1e6);
    return std::max(compute, sram);
  }

  double matrix_seconds(const MatrixShape& shape, double m, double n, double k) const {
    const double tiles =
        std::ceil(m / shape.tile_m) * std::ceil(n / shape.tile_n) * std::ceil(k / shape.tile_k);
    const double cycles = tiles * shape.tile_m * shape.tile_n * shape.tile_k / shape.macs_per_cycle;
    const MatrixEngine& matrix = profile_.matrix;
    return (matrix.start_cycles + matrix.fill_cycles + matrix.preload_cycles + cycles) /
           (state_.matrix_mhz * 1e6);
  }

  Result<Parts> linear(const Plan& plan, const PlanOp& op) const;
  Result<Parts> attention(const Plan& plan, const PlanOp& op) const;
  Parts elementwise(const Plan& plan, const PlanOp& op) const;

 private:
  double rows(const Plan& plan, std::uint32_t buffer) const {
    return plan.buffers[buffer].single_row ? 1 : static_cast<double>(call_.n_tokens);
  }

  const NpuProfile& profile_;
  const ClockState& state_;
  const EstimateCall& call_;
};

Result<Parts> Device::linear(const Plan& plan, const PlanOp& op) const {
  Parts parts;
  const double m = rows(plan, op.x);
  const VectorCycles& cycles = profile_.vector.cycles_per_vector;
  for (const std::uint32_t index : op.weights) {
    const PlanWeight& weight = plan.weights[index];
    const std::optional<MatrixMode> mode = mode_of(profile_, weight.encoding);
    if (!mode)
      return unsupported("its matrix engine has no mode for weights in {}",
                         encoding_spec(weight.encoding).name);
    const auto n = static_cast<double>(weight.n_rows), k = static_cast<double>(weight.n_cols);
    const auto bytes = static_cast<double>(
        packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value_or(0));
    parts.dram_bytes += bytes;
    parts.sram_bytes += 2 * bytes + kHalf * m * (k + n);
    parts.dma += dma_seconds(bytes, std::min(bytes, kDmaChunk));
    parts.matrix += matrix_seconds(*profile_.matrix.mode(*mode), m, n, k);
    parts.macs += m * n * k;
    parts.pj_per_mac = profile_.energy.pj_per_mac[static_cast<std::size_t>(*mode)];
    const bool widened = *mode == MatrixMode::kA16W4 || *mode == MatrixMode::kA16W8;
    if (widened && profile_.vector.dequantizes)
      parts.vector += work_seconds(n * k, cycles.dequantize, profile_.vector.contexts);
  }
  const auto width = static_cast<double>(plan.buffers[op.x].width);
  parts.fixed = vector_seconds(m * width, cycles.reduce + cycles.mul + cycles.add);
  return parts;
}

Result<Parts> Device::attention(const Plan& plan, const PlanOp& op) const {
  const std::optional<MatrixShape>& shape = profile_.matrix.mode(MatrixMode::kF16);
  const auto m = static_cast<double>(call_.n_tokens);
  // Causal: on average a row sees half of the call's own positions.
  const double positions = static_cast<double>(call_.position) + (m + 1) / 2;
  const double depth = plan.kv.head_dim;
  const VectorCycles& cycles = profile_.vector.cycles_per_vector;
  const double start = profile_.vector.start_cycles / (state_.vector_mhz * 1e6);
  const double groups = static_cast<double>(op.n_heads) / plan.kv.n_kv_heads;
  const double tile_bytes =
      static_cast<double>(plan_op_cost(plan, op, call_.n_tokens, call_.position).kv_bytes) /
      (2.0 * plan.kv.n_kv_heads);
  Parts head;
  head.dma = 2 * dma_seconds(tile_bytes, tile_bytes);
  head.macs = 2 * m * positions * depth;
  head.fixed =
      3 * start + work_seconds(m * positions, cycles.exp + cycles.add + 2 * cycles.reduce, 1);
  const bool on_matrix = shape && 4 * m >= shape->tile_m;
  if (on_matrix) {
    head.matrix =
        matrix_seconds(*shape, m, positions, depth) + matrix_seconds(*shape, m, depth, positions);
    head.pj_per_mac = profile_.energy.pj_per_mac[static_cast<std::size_t>(MatrixMode::kF16)];
  } else {
    head.vector = 2 * work_seconds(m * positions * depth, cycles.mul, 1) +
                  work_seconds(m * positions, cycles.reduce, 1);
    head.pj_per_mac = profile_.energy.pj_per_sram_byte * 2 * kHalf;  // operands from SRAM dominate
  }
  const double n = op.n_heads;
  Parts all;
  // Keys and values of a head serve its group of query heads only when these follow each other;
  // they do.
  all.dram_bytes = tile_bytes * 2 * plan.kv.n_kv_heads;
  all.dma = head.dma * n / groups + (n - n / groups) * 2 * profile_.dma.latency_ns * 1e-9;
  all.matrix = head.matrix * n;
  all.vector = head.vector * n;
  // Within a head one step waits for the other: nothing runs beside.
  all.fixed = head.fixed * n + all.dma + all.matrix + all.vector;
  all.macs = head.macs * n;
  all.sram_bytes = 2 * all.dram_bytes + 4 * kHalf * m * positions * n;
  all.pj_per_mac = head.pj_per_mac;
  return all;
}

Parts Device::elementwise(const Plan& plan, const PlanOp& op) const {
  const VectorCycles& v = profile_.vector.cycles_per_vector;
  const std::uint32_t buffer = op.out == kNoBuffer ? op.x : op.out;
  const double elements = rows(plan, buffer) * static_cast<double>(plan.buffers[buffer].width);
  Parts parts;
  double cycles = v.add;
  int commands = 1;
  switch (op.kind) {
    case PlanOpKind::kEmbed:
      parts.dram_bytes =
          static_cast<double>(plan_op_cost(plan, op, call_.n_tokens, call_.position).weight_bytes);
      parts.dma =
          dma_seconds(parts.dram_bytes, parts.dram_bytes / static_cast<double>(call_.n_tokens));
      cycles = v.dequantize;
      break;
    case PlanOpKind::kRmsNorm:  // squares and their sum, the root, the scaling
      cycles = 3 * v.mul + v.reduce;
      commands = 3;
      break;
    case PlanOpKind::kRope:
      cycles = 2 * v.mul + v.add;
      commands = 2;
      break;
    case PlanOpKind::kKvAppend:  // keys, values; then they go to DRAM
      parts.dram_bytes =
          static_cast<double>(plan_op_cost(plan, op, call_.n_tokens, call_.position).kv_bytes);
      parts.dma = dma_seconds(parts.dram_bytes, parts.dram_bytes / (2.0 * plan.kv.n_kv_heads));
      commands = 2;
      break;
    case PlanOpKind::kSwiGlu:
      cycles = v.exp + 2 * v.mul;
      break;
    case PlanOpKind::kSilu:
      cycles = v.exp + v.mul;
      break;
    case PlanOpKind::kOutput:
      parts.dram_bytes = elements * 4;
      parts.dma = dma_seconds(parts.dram_bytes, parts.dram_bytes);
      break;
    default:
      break;
  }
  parts.vector = vector_seconds(elements, cycles);
  parts.fixed = (commands - 1) * vector_seconds(0, 0);
  parts.sram_bytes = 3 * elements * kHalf;
  return parts;
}

}  // namespace

const char* estimate_bound_name(EstimateBound bound) {
  static constexpr const char* kNames[] = {"dma", "matrix", "vector", "host", "cpu"};
  return kNames[static_cast<int>(bound)];
}

Result<OpEstimate> estimate_npu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                                   const EstimateCall& call) {
  const Device device(profile, call);
  Parts parts;
  if (op.kind == PlanOpKind::kHadamard) return unsupported("it has no engine for hadamard");
  if (op.kind == PlanOpKind::kLinear) {
    CRIA_ASSIGN_OR_RETURN(parts, device.linear(plan, op));
  } else if (op.kind == PlanOpKind::kAttention) {
    CRIA_ASSIGN_OR_RETURN(parts, device.attention(plan, op));
  } else {
    parts = device.elementwise(plan, op);
  }
  const double beside =
      op.kind == PlanOpKind::kAttention ? 0 : std::max({parts.dma, parts.matrix, parts.vector});
  const double decode = profile.host.per_op_ns * 1e-9;
  OpEstimate estimate;
  estimate.seconds = beside + parts.fixed + decode;
  const double vector = parts.vector + (op.kind == PlanOpKind::kAttention
                                            ? parts.fixed - parts.dma - parts.matrix - parts.vector
                                            : parts.fixed);
  const double most = std::max({parts.dma, parts.matrix, vector, decode});
  estimate.bound = most == parts.dma      ? EstimateBound::kDma
                   : most == parts.matrix ? EstimateBound::kMatrix
                   : most == vector       ? EstimateBound::kVector
                                          : EstimateBound::kHost;
  const double scale = profile.state(call.clock_state).energy_scale;
  estimate.dram_bytes = parts.dram_bytes;
  estimate.device_joules =
      (parts.macs * parts.pj_per_mac + parts.sram_bytes * profile.energy.pj_per_sram_byte) * scale *
      1e-12;
  estimate.dram_joules = parts.dram_bytes * profile.dram.pj_per_byte * 1e-12;
  return estimate;
}

OpEstimate estimate_cpu_op(const NpuProfile& profile, const Plan& plan, const PlanOp& op,
                           const EstimateCall& call) {
  const PlanCost cost = plan_op_cost(plan, op, call.n_tokens, call.position);
  const bool codes = op.kind == PlanOpKind::kLinear &&
                     !encoding_spec(plan.weights[op.weights[0]].encoding).dense();
  const double macs_per_s = (codes ? profile.cpu.i8_gmac_per_s : profile.cpu.f32_gmac_per_s) * 1e9;
  const std::uint32_t buffer = op.out == kNoBuffer ? op.x : op.out;
  const double rows = plan.buffers[buffer].single_row ? 1 : static_cast<double>(call.n_tokens);
  // Elementwise work: some ten operations an element.
  const double elements = rows * static_cast<double>(plan.buffers[buffer].width);
  OpEstimate estimate;
  estimate.dram_bytes = static_cast<double>(cost.weight_bytes + cost.kv_bytes);
  const double memory = estimate.dram_bytes / (profile.cpu.dram_gb_per_s * 1e9);
  const double compute = static_cast<double>(cost.macs()) / macs_per_s +
                         10 * elements / (profile.cpu.f32_gmac_per_s * 1e9);
  constexpr double kWake = 2e-6;  // starting and joining the threads of one op
  estimate.seconds = std::max(memory, compute) + kWake;
  estimate.bound = memory > compute ? EstimateBound::kDma : EstimateBound::kCpu;
  estimate.device_joules = profile.cpu.active_mw * 1e-3 * estimate.seconds;
  estimate.dram_joules = estimate.dram_bytes * profile.dram.pj_per_byte * 1e-12;
  return estimate;
}

double handoff_seconds(const NpuProfile& profile, bool to_npu) {
  return (to_npu ? profile.host.submit_us : profile.host.complete_us) * 1e-6;
}

std::int64_t n_submissions(const NpuProfile& profile, const Plan& plan) {
  double weight_bytes = 0;
  for (const PlanWeight& weight : plan.weights) {
    if (weight.packed)
      weight_bytes += static_cast<double>(
          packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols).value_or(0));
  }
  const double by_ops = std::ceil(static_cast<double>(plan.ops.size()) / profile.host.batch_max);
  const double by_bytes = std::ceil(weight_bytes / static_cast<double>(profile.limits.va_bytes));
  return static_cast<std::int64_t>(std::max({1.0, by_ops, by_bytes}));
}

Result<CallEstimate> estimate_npu_call(const NpuProfile& profile, const Plan& plan,
                                       const EstimateCall& call) {
  CallEstimate total;
  for (const PlanOp& op : plan.ops) {
    Result<OpEstimate> estimate = estimate_npu_op(profile, plan, op, call);
    if (!estimate.ok())
      return std::move(estimate).status().with_context(profile.name + ": " +
                                                       plan_op_label(plan, op));
    total.seconds += estimate->seconds;
    total.dram_bytes += estimate->dram_bytes;
    total.device_joules += estimate->device_joules;
    total.dram_joules += estimate->dram_joules;
  }
  const auto calls = static_cast<double>(n_submissions(profile, plan));
  total.host_seconds = calls * (handoff_seconds(profile, true) + handoff_seconds(profile, false));
  total.seconds += total.host_seconds;
  const double scale = profile.state(call.clock_state).energy_scale;
  total.device_joules += profile.energy.static_mw * 1e-3 * scale * total.seconds;
  total.host_joules = profile.host.active_mw * 1e-3 * total.host_seconds;
  return total;
}

}  // namespace cria
