#include "format/plan/plan.h"

#include <cstring>
#include <type_traits>

#include "base/byte_reader.h"
#include "base/printable.h"
#include "base/quote.h"

namespace cria {
namespace {

// Smallest encodings, which bound the counts that a blob can hold.
constexpr std::size_t kWeightBytesMin = 4 + 1 + 1 + 8 + 8;
constexpr std::size_t kBufferBytesMin = 4 + 8 + 1 + 8;
constexpr std::size_t kOpBytesMin = 1 + 1 + 3 * 4 + 2 * 4 + 4 + 2 * 8 + 4 + 2 * 4 + 8 + 1 + 4;

class ByteWriter {
 public:
  template <typename T>
  void write(T value) {
    static_assert(std::is_arithmetic_v<T>);
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
  }
  void write_text(const std::string& text) {
    write(static_cast<std::uint32_t>(text.size()));
    const auto* raw = reinterpret_cast<const std::byte*>(text.data());
    bytes_.insert(bytes_.end(), raw, raw + text.size());
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

void write_op(ByteWriter& out, const PlanOp& op) {
  out.write(static_cast<std::uint8_t>(op.kind));
  out.write(static_cast<std::uint8_t>(op.accumulate));
  out.write(op.x);
  out.write(op.y);
  out.write(op.out);
  out.write(op.epsilon);
  out.write(op.scale);
  out.write(op.layer);
  out.write(op.column);
  out.write(op.column_v);
  out.write(op.n_heads);
  out.write(op.kv_head);
  out.write(op.n_kv_heads);
  out.write(op.block);
  out.write(static_cast<std::uint8_t>(op.inverse));
  out.write(static_cast<std::uint32_t>(op.weights.size()));
  for (std::uint32_t weight : op.weights) out.write(weight);
}

Result<std::string> read_text(ByteReader& in, std::string_view field) {
  CRIA_ASSIGN_OR_RETURN(const auto length, in.read<std::uint32_t>(field));
  CRIA_ASSIGN_OR_RETURN(const std::string_view text, in.take_text(length, field));
  if (is_printable(text)) return std::string(text);
  return bad_input("{}: {} is {}, expected printable ASCII", in.what(), field, quote(text));
}

Result<bool> read_bool(ByteReader& in, std::string_view field) {
  CRIA_ASSIGN_OR_RETURN(const auto value, in.read<std::uint8_t>(field));
  if (value > 1) return bad_input("{}: {} is {}, expected 0 or 1", in.what(), field, value);
  return value == 1;
}

// How many elements of at least `size_bytes` follow; a count that cannot fit is refused before
// anything is allocated for it.
Result<std::uint32_t> read_count(ByteReader& in, std::size_t size_bytes, std::string_view field) {
  CRIA_ASSIGN_OR_RETURN(const auto count, in.read<std::uint32_t>(field));
  if (count > in.remaining() / size_bytes) {
    return bad_input("{}: {} is {}, the {} bytes left hold at most {}", in.what(), field, count,
                     in.remaining(), in.remaining() / size_bytes);
  }
  return count;
}

Result<PlanWeight> read_weight(ByteReader& in) {
  PlanWeight weight;
  CRIA_ASSIGN_OR_RETURN(weight.key, read_text(in, "weight key"));
  CRIA_ASSIGN_OR_RETURN(const auto encoding, in.read<std::uint8_t>("weight encoding"));
  if (encoding >= kEncodingCount) {
    return bad_input("{}: weight '{}' has encoding {}, known are 0 to {}", in.what(), weight.key,
                     encoding, kEncodingCount - 1);
  }
  weight.encoding = static_cast<Encoding>(encoding);
  CRIA_ASSIGN_OR_RETURN(weight.packed, read_bool(in, "weight packed"));
  CRIA_ASSIGN_OR_RETURN(weight.n_rows, in.read<std::int64_t>("weight rows"));
  CRIA_ASSIGN_OR_RETURN(weight.n_cols, in.read<std::int64_t>("weight columns"));
  return weight;
}

Result<PlanBuffer> read_buffer(ByteReader& in) {
  PlanBuffer buffer;
  CRIA_ASSIGN_OR_RETURN(buffer.name, read_text(in, "buffer name"));
  CRIA_ASSIGN_OR_RETURN(buffer.width, in.read<std::int64_t>("buffer width"));
  CRIA_ASSIGN_OR_RETURN(buffer.single_row, read_bool(in, "buffer single_row"));
  CRIA_ASSIGN_OR_RETURN(buffer.offset_bytes, in.read<std::uint64_t>("buffer offset"));
  return buffer;
}

Result<PlanOp> read_op(ByteReader& in) {
  PlanOp op;
  CRIA_ASSIGN_OR_RETURN(const auto kind, in.read<std::uint8_t>("op kind"));
  if (kind >= kPlanOpKindCount) {
    return bad_input("{}: op kind {}, known are 0 to {}", in.what(), kind, kPlanOpKindCount - 1);
  }
  op.kind = static_cast<PlanOpKind>(kind);
  CRIA_ASSIGN_OR_RETURN(op.accumulate, read_bool(in, "op accumulate"));
  CRIA_ASSIGN_OR_RETURN(op.x, in.read<std::uint32_t>("op x"));
  CRIA_ASSIGN_OR_RETURN(op.y, in.read<std::uint32_t>("op y"));
  CRIA_ASSIGN_OR_RETURN(op.out, in.read<std::uint32_t>("op out"));
  CRIA_ASSIGN_OR_RETURN(op.epsilon, in.read<float>("op epsilon"));
  CRIA_ASSIGN_OR_RETURN(op.scale, in.read<float>("op scale"));
  CRIA_ASSIGN_OR_RETURN(op.layer, in.read<std::int32_t>("op layer"));
  CRIA_ASSIGN_OR_RETURN(op.column, in.read<std::int64_t>("op column"));
  CRIA_ASSIGN_OR_RETURN(op.column_v, in.read<std::int64_t>("op column_v"));
  CRIA_ASSIGN_OR_RETURN(op.n_heads, in.read<std::int32_t>("op heads"));
  CRIA_ASSIGN_OR_RETURN(op.kv_head, in.read<std::int32_t>("op kv_head"));
  CRIA_ASSIGN_OR_RETURN(op.n_kv_heads, in.read<std::int32_t>("op kv heads"));
  CRIA_ASSIGN_OR_RETURN(op.block, in.read<std::int64_t>("op block"));
  CRIA_ASSIGN_OR_RETURN(op.inverse, read_bool(in, "op inverse"));
  CRIA_ASSIGN_OR_RETURN(const auto n_weights,
                        read_count(in, sizeof(std::uint32_t), "op weight count"));
  op.weights.reserve(n_weights);
  for (std::uint32_t i = 0; i < n_weights; ++i) {
    CRIA_ASSIGN_OR_RETURN(const auto weight, in.read<std::uint32_t>("op weight"));
    op.weights.push_back(weight);
  }
  return op;
}

Result<std::uint32_t> read_import(ByteReader& in) { return in.read<std::uint32_t>("import"); }

Result<KvType> read_kv_type(ByteReader& in, std::string_view field) {
  CRIA_ASSIGN_OR_RETURN(const auto number, in.read<std::uint8_t>(field));
  if (number >= kKvTypeCount) {
    return bad_input("{}: {} is {}, expected 0 to {}", in.what(), field, number, kKvTypeCount - 1);
  }
  return static_cast<KvType>(number);
}

Status read_prologue(ByteReader& in, Plan& plan) {
  CRIA_ASSIGN_OR_RETURN(const auto magic, in.read<std::uint32_t>("magic"));
  if (magic != kPlanMagic) {
    return bad_input("{}: starts with {:#010x}, a plan starts with {:#010x}", in.what(), magic,
                     kPlanMagic);
  }
  CRIA_ASSIGN_OR_RETURN(const auto version, in.read<std::uint32_t>("version"));
  if (version != kPlanVersion) {
    return unsupported("{}: plan version {}, this build reads version {}; compile the model again",
                       in.what(), version, kPlanVersion);
  }
  CRIA_ASSIGN_OR_RETURN(plan.max_tokens, in.read<std::int64_t>("max_tokens"));
  CRIA_ASSIGN_OR_RETURN(plan.n_vocab, in.read<std::int64_t>("n_vocab"));
  CRIA_ASSIGN_OR_RETURN(plan.kv.n_layers, in.read<std::int32_t>("kv layers"));
  CRIA_ASSIGN_OR_RETURN(plan.kv.n_kv_heads, in.read<std::int32_t>("kv heads"));
  CRIA_ASSIGN_OR_RETURN(plan.kv.head_dim, in.read<std::int32_t>("head_dim"));
  CRIA_ASSIGN_OR_RETURN(plan.kv.k_type, read_kv_type(in, "type of keys"));
  CRIA_ASSIGN_OR_RETURN(plan.kv.v_type, read_kv_type(in, "type of values"));
  CRIA_ASSIGN_OR_RETURN(plan.scratch_bytes, in.read<std::uint64_t>("scratch_bytes"));
  return {};
}

// A count, then that many elements, appended to `out`.
template <typename T>
Status read_list(ByteReader& in, std::size_t size_bytes_min, std::string_view field,
                 Result<T> (*read)(ByteReader&), std::vector<T>& out) {
  CRIA_ASSIGN_OR_RETURN(const auto count, read_count(in, size_bytes_min, field));
  out.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    CRIA_ASSIGN_OR_RETURN(T element, read(in));
    out.push_back(std::move(element));
  }
  return {};
}

}  // namespace

std::vector<std::byte> encode_plan(const Plan& plan) {
  ByteWriter out;
  out.write(kPlanMagic);
  out.write(kPlanVersion);
  out.write(plan.max_tokens);
  out.write(plan.n_vocab);
  out.write(plan.kv.n_layers);
  out.write(plan.kv.n_kv_heads);
  out.write(plan.kv.head_dim);
  out.write(static_cast<std::uint8_t>(plan.kv.k_type));
  out.write(static_cast<std::uint8_t>(plan.kv.v_type));
  out.write(plan.scratch_bytes);
  out.write(static_cast<std::uint32_t>(plan.weights.size()));
  for (const PlanWeight& weight : plan.weights) {
    out.write_text(weight.key);
    out.write(static_cast<std::uint8_t>(weight.encoding));
    out.write(static_cast<std::uint8_t>(weight.packed));
    out.write(weight.n_rows);
    out.write(weight.n_cols);
  }
  out.write(static_cast<std::uint32_t>(plan.buffers.size()));
  for (const PlanBuffer& buffer : plan.buffers) {
    out.write_text(buffer.name);
    out.write(buffer.width);
    out.write(static_cast<std::uint8_t>(buffer.single_row));
    out.write(buffer.offset_bytes);
  }
  out.write(static_cast<std::uint32_t>(plan.ops.size()));
  for (const PlanOp& op : plan.ops) write_op(out, op);
  out.write(static_cast<std::uint8_t>(plan.is_part));
  out.write(static_cast<std::uint32_t>(plan.imports.size()));
  for (const std::uint32_t buffer : plan.imports) out.write(buffer);
  return out.take();
}

Result<Plan> decode_plan(std::span<const std::byte> bytes, std::string_view what) {
  ByteReader in(bytes, what);
  Plan plan;
  CRIA_RETURN_IF_ERROR(read_prologue(in, plan));
  CRIA_RETURN_IF_ERROR(read_list(in, kWeightBytesMin, "weight count", read_weight, plan.weights));
  CRIA_RETURN_IF_ERROR(read_list(in, kBufferBytesMin, "buffer count", read_buffer, plan.buffers));
  CRIA_RETURN_IF_ERROR(read_list(in, kOpBytesMin, "op count", read_op, plan.ops));
  CRIA_ASSIGN_OR_RETURN(plan.is_part, read_bool(in, "is_part"));
  CRIA_RETURN_IF_ERROR(
      read_list(in, sizeof(std::uint32_t), "import count", read_import, plan.imports));
  if (in.remaining() != 0) {
    return bad_input("{}: {} bytes follow the plan, expected none", what, in.remaining());
  }
  CRIA_RETURN_IF_ERROR(verify_plan(plan).with_context(std::string(what)));
  return plan;
}

bool plan_op_updates(const Plan& plan, const PlanOp& op) {
  switch (op.kind) {
    case PlanOpKind::kRope:
    case PlanOpKind::kSoftmax:
      return true;
    case PlanOpKind::kMix:
      return op.kv_head > 0;
    case PlanOpKind::kLinear: {
      if (op.accumulate) return true;
      std::int64_t n_rows = 0;
      for (const std::uint32_t weight : op.weights) n_rows += plan.weights[weight].n_rows;
      return n_rows < plan.buffers[op.out].width;
    }
    default:
      return false;
  }
}

std::vector<std::uint32_t> plan_op_reads(const Plan& plan, const PlanOp& op) {
  std::vector<std::uint32_t> buffers;
  for (const std::uint32_t id : {op.x, op.y, plan_op_updates(plan, op) ? op.out : kNoBuffer}) {
    if (id != kNoBuffer) buffers.push_back(id);
  }
  return buffers;
}

const char* plan_op_name(PlanOpKind kind) {
  static constexpr const char* kNames[kPlanOpKindCount] = {
      "embed", "rms_norm", "linear",   "rope",   "kv_append", "attention", "swiglu",  "add",
      "mul",   "silu",     "last_row", "output", "hadamard",  "scores",    "softmax", "mix"};
  return kNames[static_cast<int>(kind)];
}

}  // namespace cria
