#include "delegates/cpu/cpu_method.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "base/huge_pages.h"
#include "delegates/cpu/own_row.h"
#include "delegates/cpu/plan_reads.h"
#include "delegates/cpu/shared_inputs.h"
#include "format/plan/plan_cost.h"

namespace cria {
namespace {

constexpr std::int32_t kDtypeByte = 0, kDtypeInt64 = 4, kDtypeFloat = 6;  // ExecuTorch ScalarType
enum Argument : std::size_t { kTokens, kInputPos, kKvCache, kScratch, kLogits, kArgumentCount };
constexpr const char* kArgumentNames[] = {"tokens", "input_pos", "kv_cache", "scratch", "logits"};

struct Expected {
  std::int32_t dtype;
  std::size_t alignment;
};
constexpr Expected kExpected[] = {{kDtypeInt64, 8},
                                  {kDtypeInt64, 8},
                                  {kDtypeByte, 2},
                                  {kDtypeByte, kVectorAlignment},
                                  {kDtypeFloat, 4}};

bool aligned(const void* data, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment == 0;
}

Status check_form(std::span<const cria_tensor> args) {
  if (args.size() != kArgumentCount) {
    return invalid_argument(
        "{} arguments, expected 5: tokens, input_pos, kv_cache, scratch, logits", args.size());
  }
  for (std::size_t i = 0; i < kArgumentCount; ++i) {
    if (args[i].dtype != kExpected[i].dtype) {
      return invalid_argument("{} has dtype {}, expected {}", kArgumentNames[i], args[i].dtype,
                              kExpected[i].dtype);
    }
    if (!aligned(args[i].data, kExpected[i].alignment)) {
      return invalid_argument("{} is not aligned to {} bytes", kArgumentNames[i],
                              kExpected[i].alignment);
    }
  }
  return {};
}

std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

// Bytes that a weight must have; nullopt if no memory could hold it.
std::optional<std::size_t> expected_bytes(const PlanWeight& weight) {
  if (weight.packed) return packed_size_bytes(weight.encoding, weight.n_rows, weight.n_cols);
  return static_cast<std::size_t>(weight.n_cols) * sizeof(float);
}

}  // namespace

Result<A8Rows> A8Rows::allocate(std::int64_t n_blocks) {
  const auto n = static_cast<std::size_t>(n_blocks);
  A8Rows rows;
  CRIA_ASSIGN_OR_RETURN(rows.code_bytes, AlignedBuffer::allocate(n * kColumnGroup));
  CRIA_ASSIGN_OR_RETURN(rows.block_bytes, AlignedBuffer::allocate(n * sizeof(A8Block)));
  prefer_huge_pages(rows.code_bytes.bytes());
  prefer_huge_pages(rows.block_bytes.bytes());
  return rows;
}

CpuMethod::CpuMethod(const cria_host& host, Plan plan, const CpuOptions& options)
    : host_(host), plan_(std::move(plan)), options_(options), kernels_(kernels_for(options.isa)) {}

Result<std::unique_ptr<CpuMethod>> CpuMethod::create(const cria_host& host,
                                                     std::span<const std::byte> blob,
                                                     const CpuOptions& options) {
  CRIA_ASSIGN_OR_RETURN(Plan plan, decode_plan(blob, "plan"));
  if (plan.kv.head_dim > kMaxHeadDim) {
    return unsupported("heads of {} values, at most {} are supported", plan.kv.head_dim,
                       kMaxHeadDim);
  }
  std::unique_ptr<CpuMethod> method(new CpuMethod(host, std::move(plan), options));
  CRIA_RETURN_IF_ERROR(method->bind_weights());
  const auto quantizes = [&](std::uint32_t w) { return method->quantizes(method->weights_[w]); };
  method->gating_ = find_gated_linears(
      method->plan_, quantizes, [&](std::uint32_t w) { return !method->weights_[w].sparse; });
  method->normed_ = find_normed_linears(method->plan_, quantizes);
  CRIA_RETURN_IF_ERROR(method->allocate_scratch());
  if (host.observe_input != nullptr) method->listen_to_inputs();
  method->n_score_positions_ = method->plan_.score_positions();
  const PlanOp& output = method->plan_.ops.back();
  method->gives_output_ = output.kind == PlanOpKind::kOutput;
  if (method->gives_output_)
    method->n_output_rows_ = method->plan_.buffers[output.x].single_row ? 1 : 0;
  if (!is_part_of_method(method->plan_)) method->output_buffer_ = output.x;
  return method;
}

Status CpuMethod::bind_weights() {
  for (const PlanWeight& weight : plan_.weights) {
    cria_bytes data{};
    const int code = host_.get_named_data(host_.context, weight.key.c_str(), &data);
    if (code != 0) return bad_input("weight '{}' is not in the program", weight.key);
    const std::optional<std::size_t> expected = expected_bytes(weight);
    const bool in_full = expected && data.size_bytes == *expected;
    if (!in_full && !(weight.packed && expected && data.size_bytes < *expected &&
                      can_drop_zero_blocks(weight.encoding, weight.n_cols))) {
      return bad_input("weight '{}', {} [{}, {}], has {} bytes, expected {}", weight.key,
                       encoding_spec(weight.encoding).name, weight.n_rows, weight.n_cols,
                       data.size_bytes, expected ? std::to_string(*expected) : "fewer rows");
    }
    if (!aligned(data.data, kVectorAlignment)) {
      return bad_input("weight '{}' does not start at a multiple of {} bytes", weight.key,
                       kVectorAlignment);
    }
    CpuWeight bound{weight.encoding, weight.n_rows, weight.n_cols};
    bound.bytes = {static_cast<const std::byte*>(data.data), data.size_bytes};
    if (!in_full) {
      Result<ZeroBlocksView> sparse =
          ZeroBlocksView::open(weight.encoding, weight.n_rows, weight.n_cols, bound.bytes);
      if (!sparse.ok()) {
        return std::move(sparse).status().with_context(
            fmt::format("weight '{}', of {} bytes in full", weight.key, *expected));
      }
      bound.sparse = *sparse;
    }
    if (weight.packed) bound.panel_bytes = panel_layout(weight.encoding, weight.n_cols).size_bytes;
    weights_.push_back(bound);
  }
  return {};
}

// What kernels need beside the plan's own buffers, once for the largest op.
Status CpuMethod::allocate_scratch() {
  std::int64_t n_blocks = 0, n_row_blocks = 0;  // of all rows of an op, of one
  bool has_rope = false;
  const bool gates = std::ranges::find(gating_, Gating::kQuantized) != gating_.end();
  for (const PlanOp& op : plan_.ops) {
    has_rope |= op.kind == PlanOpKind::kRope;
    const bool a8 =
        op.kind == PlanOpKind::kLinear &&
        std::ranges::any_of(op.weights, [this](std::uint32_t w) { return quantizes(weights_[w]); });
    if (!a8) continue;
    const PlanBuffer& x = plan_.buffers[op.x];
    const std::int64_t n_rows = x.single_row ? 1 : plan_.max_tokens;
    n_blocks = std::max(n_blocks, n_rows * a8_blocks(x.width));
    n_row_blocks = std::max(n_row_blocks, a8_blocks(x.width));
  }
  if (n_blocks > 0) {
    own_rows_.resize(static_cast<std::size_t>(host_.n_threads));
    for (OwnRow& own : own_rows_) {
      CRIA_ASSIGN_OR_RETURN(own.a8, A8Rows::allocate(n_row_blocks));
      const auto n = static_cast<std::size_t>(n_row_blocks * kColumnGroup);
      CRIA_ASSIGN_OR_RETURN(own.float_bytes, AlignedBuffer::allocate(n * sizeof(float)));
    }
    CRIA_ASSIGN_OR_RETURN(x_, A8Rows::allocate(n_blocks));
    if (gates) {
      CRIA_ASSIGN_OR_RETURN(next_x_, A8Rows::allocate(n_blocks));
    }
  }
  if (has_rope) {
    const auto n = static_cast<std::size_t>(plan_.max_tokens * plan_.kv.head_dim);
    CRIA_ASSIGN_OR_RETURN(angles_, AlignedBuffer::allocate(n * sizeof(float)));
  }
  return {};
}

void CpuMethod::listen_to_inputs() {
  for (const std::vector<std::uint32_t>& weights : shared_inputs(plan_)) {
    shown_weights_.emplace_back();
    for (const std::uint32_t weight : weights) {
      shown_weights_.back().push_back(plan_.weights[weight].key.c_str());
    }
  }
}

void CpuMethod::show_input(std::size_t op, const CpuCall& call) const {
  const std::vector<const char*>& weights = shown_weights_[op];
  if (weights.empty()) return;
  const std::uint32_t x = plan_.ops[op].x;
  const cria_input_record record{.weights = weights.data(),
                                 .n_weights = weights.size(),
                                 .rows = row(x, call, 0),
                                 .n_rows = n_rows(x, call),
                                 .n_cols = plan_.buffers[x].width};
  host_.observe_input(host_.context, &record);
}

Status CpuMethod::check_positions(const cria_tensor& kv_cache, CpuCall& call) const {
  if (call.position < 0) return invalid_argument("position {} is negative", call.position);
  const std::uint64_t bytes_per_position = plan_.kv.bytes_per_position();
  if (bytes_per_position == 0) return {};
  if (kv_cache.rank != 2 || kv_cache.sizes[1] != static_cast<std::int64_t>(bytes_per_position)) {
    return invalid_argument("kv_cache must be bytes [positions, {}]", bytes_per_position);
  }
  call.kv = static_cast<std::byte*>(kv_cache.data);
  call.n_ctx = static_cast<std::int64_t>(kv_cache.size_bytes / bytes_per_position);
  if (call.n_ctx % plan_.kv.granularity() != 0) {
    return invalid_argument("kv_cache has {} positions, expected a multiple of {}", call.n_ctx,
                            plan_.kv.granularity());
  }
  if (call.n_tokens() > call.n_ctx || call.position > call.n_ctx - call.n_tokens()) {
    return out_of_resources("{} tokens at position {}, the cache of {} bytes has {} positions",
                            call.n_tokens(), call.position, kv_cache.size_bytes, call.n_ctx);
  }
  if (n_score_positions_ > 0 && call.position + call.n_tokens() > n_score_positions_) {
    return out_of_resources("{} tokens at position {}, compiled for {} positions", call.n_tokens(),
                            call.position, n_score_positions_);
  }
  return {};
}

Status CpuMethod::check_output(const cria_tensor& logits, std::int64_t n_rows) const {
  const bool fits = logits.rank == 3 && logits.sizes[0] == 1 && logits.sizes[1] >= n_rows &&
                    logits.sizes[2] == plan_.n_vocab;
  if (fits) return {};
  return invalid_argument("logits must be float32 [1, {} or more, {}]", n_rows, plan_.n_vocab);
}

Result<CpuCall> CpuMethod::check_arguments(std::span<const cria_tensor> args) const {
  CRIA_RETURN_IF_ERROR(check_form(args));
  CpuCall call;
  call.tokens = {static_cast<const std::int64_t*>(args[kTokens].data),
                 args[kTokens].size_bytes / sizeof(std::int64_t)};
  if (call.tokens.empty() || call.n_tokens() > plan_.max_tokens) {
    return invalid_argument("{} tokens, expected 1 to {}", call.tokens.size(), plan_.max_tokens);
  }
  for (std::int64_t id : call.tokens) {
    if (id < 0 || id >= plan_.n_vocab) {
      return invalid_argument("token {}, the vocabulary has {}", id, plan_.n_vocab);
    }
  }
  if (args[kInputPos].size_bytes != sizeof(std::int64_t)) {
    return invalid_argument("input_pos has {} bytes, expected one int64",
                            args[kInputPos].size_bytes);
  }
  call.position = *static_cast<const std::int64_t*>(args[kInputPos].data);
  CRIA_RETURN_IF_ERROR(check_positions(args[kKvCache], call));
  if (args[kScratch].size_bytes < plan_.scratch_bytes) {
    return invalid_argument("scratch has {} bytes, the plan needs {}", args[kScratch].size_bytes,
                            plan_.scratch_bytes);
  }
  call.scratch = static_cast<std::byte*>(args[kScratch].data);
  if (!gives_output_) return call;
  const std::int64_t n_rows = n_output_rows_ == 1 ? 1 : call.n_tokens();
  CRIA_RETURN_IF_ERROR(check_output(args[kLogits], n_rows));
  call.logits = static_cast<float*>(args[kLogits].data);
  return call;
}

void CpuMethod::record(const PlanOp& op, const CpuCall& call, std::int64_t start_ns,
                       std::int64_t end_ns) const {
  const auto stored_bytes = [this](const PlanWeight& weight) -> std::uint64_t {
    return weights_[static_cast<std::size_t>(&weight - plan_.weights.data())].bytes.size();
  };
  const PlanCost cost = plan_op_cost(plan_, op, call.n_tokens(), call.position, stored_bytes);
  cria_op_record record{};
  record.op = plan_op_name(op.kind);
  record.name = plan_op_label(plan_, op).c_str();
  record.layer = plan_op_layer(plan_, op);
  record.n_tokens = static_cast<std::int32_t>(call.n_tokens());
  record.weight_bytes = cost.weight_bytes;
  record.kv_bytes = cost.kv_bytes;
  record.macs = cost.macs();
  record.start_ns = start_ns;
  record.end_ns = end_ns;
  host_.record_op(host_.context, &record);
}

Status CpuMethod::execute(std::span<cria_tensor> args) {
  CRIA_ASSIGN_OR_RETURN(const CpuCall call, check_arguments(args));
  angles_weight_ = quantized_ = kNoBuffer;
  const auto time_ns = [this] { return host_.record_op == nullptr ? 0 : now_ns(); };
  for (std::size_t i = 0; i < plan_.ops.size(); ++i) {
    if (!shown_weights_.empty()) show_input(i, call);
    // Ops that run as one: records give all time to the linear.
    const bool normed = i + 1 < plan_.ops.size() && makes_norm(i + 1, call);
    const std::size_t linear = normed ? i + 1 : i;
    const bool gated = is_gated(linear, call);
    const std::int64_t start_ns = time_ns();
    gated ? gated_linear(linear, call) : run(linear, call);
    const std::int64_t end_ns = time_ns();
    if (host_.record_op != nullptr) {
      if (normed) record(plan_.ops[i], call, start_ns, start_ns);
      record(plan_.ops[linear], call, start_ns, end_ns);
      if (gated) record(plan_.ops[linear + 1], call, end_ns, end_ns);
    }
    i = gated ? linear + 1 : linear;
  }
  if (!gives_output_) return {};
  const std::int64_t n_rows = n_output_rows_ == 1 ? 1 : call.n_tokens();
  args[kLogits].sizes[1] = n_rows;
  args[kLogits].size_bytes = static_cast<std::size_t>(n_rows * plan_.n_vocab) * sizeof(float);
  return {};
}

}  // namespace cria
