// The binary form of NpuCommands. Numbers are LEB128 (7 bits a byte, low ones first), because most
// of a command's members are zero or small; floats are their 4 bytes.
#include <bit>
#include <cstring>
#include <type_traits>

#include "base/byte_reader.h"
#include "base/printable.h"
#include "base/quote.h"
#include "format/npu_commands/npu_commands.h"
#include "format/npu_commands/npu_verify.h"

namespace cria {
namespace {

constexpr std::size_t kMaxNameBytes = 1 << 12;
constexpr std::size_t kMaxProfileBytes = 1 << 20;

// One visitor walks the members in order for writing and for reading, so that the two cannot
// differ.
class Writer {
 public:
  static constexpr bool kReads = false;
  template <typename T>
  Status number(T& value, std::string_view) {
    auto left = static_cast<std::uint64_t>(value);
    while (left >= 0x80) {
      bytes_.push_back(static_cast<std::byte>(left | 0x80));
      left >>= 7;
    }
    bytes_.push_back(static_cast<std::byte>(left));
    return {};
  }
  Status real(float& value, std::string_view) {
    append(&value, sizeof(value));
    return {};
  }
  Status text(std::string& value, std::size_t, std::string_view field) {
    std::size_t size = value.size();
    CRIA_RETURN_IF_ERROR(number(size, field));
    append(value.data(), value.size());
    return {};
  }
  Status name(std::string& value, std::string_view field) { return text(value, 0, field); }
  template <typename T, typename Each>
  Status list(std::vector<T>& values, std::string_view field, const Each& each) {
    std::size_t size = values.size();
    CRIA_RETURN_IF_ERROR(number(size, field));
    for (T& value : values) CRIA_RETURN_IF_ERROR(each(*this, value));
    return {};
  }
  void append(const void* data, std::size_t size_bytes) {
    const auto* raw = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), raw, raw + size_bytes);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Reader {
 public:
  static constexpr bool kReads = true;
  explicit Reader(ByteReader& in) : in_(in) {}

  // A bool takes 0 or 1, an unsigned type what fits it, a signed one what is not negative, or -1 as
  // a 64-bit pattern.
  template <typename T>
  Status number(T& value, std::string_view field) {
    std::uint64_t raw = 0;
    CRIA_RETURN_IF_ERROR(read_leb(raw, field));
    if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(raw);
      if (raw > 0xff) return bad_input("{}: {} is {}", in_.what(), field, raw);
    } else {
      value = static_cast<T>(raw);
      if (static_cast<std::uint64_t>(value) != raw)
        return bad_input("{}: {} is {}", in_.what(), field, raw);
    }
    return {};
  }
  Status real(float& value, std::string_view field) {
    CRIA_ASSIGN_OR_RETURN(value, in_.read<float>(field));
    return {};
  }
  Status text(std::string& value, std::size_t max_bytes, std::string_view field) {
    std::uint64_t size = 0;
    CRIA_RETURN_IF_ERROR(read_leb(size, field));
    if (size > max_bytes) {
      return bad_input("{}: {} has {} bytes, at most {} are allowed", in_.what(), field, size,
                       max_bytes);
    }
    CRIA_ASSIGN_OR_RETURN(const std::string_view text, in_.take_text(size, field));
    value = text;
    return {};
  }
  Status name(std::string& value, std::string_view field) {
    CRIA_RETURN_IF_ERROR(text(value, kMaxNameBytes, field));
    if (is_printable(value)) return {};
    return bad_input("{}: {} is {}, expected printable ASCII", in_.what(), field, quote(value));
  }
  template <typename T, typename Each>
  Status list(std::vector<T>& values, std::string_view field, const Each& each) {
    std::uint64_t size = 0;
    CRIA_RETURN_IF_ERROR(read_leb(size, field));
    // Every element has a byte at least.
    if (size > in_.remaining()) {
      return bad_input("{}: {} count is {}, {} bytes are left", in_.what(), field, size,
                       in_.remaining());
    }
    for (std::uint64_t i = 0; i < size; ++i) {
      T value{};
      Status status = each(*this, value);
      if (!status.ok()) return std::move(status).with_context(fmt::format("{} {}", field, i));
      values.push_back(std::move(value));
    }
    return {};
  }

 private:
  Status read_leb(std::uint64_t& value, std::string_view field) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      CRIA_ASSIGN_OR_RETURN(const auto byte, in_.read<std::uint8_t>(field));
      if (shift == 63 && byte > 1) break;
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return {};
    }
    return bad_input("{}: {} at byte {} has more than 64 bits", in_.what(), field, in_.offset());
  }

  ByteReader& in_;
};

#define CRIA_VISIT(field) CRIA_RETURN_IF_ERROR(io.number(v.field, #field))

template <typename Io>
Status visit_weight(Io& io, NpuWeight& v) {
  CRIA_RETURN_IF_ERROR(io.name(v.key, "weight key"));
  CRIA_VISIT(encoding);
  CRIA_VISIT(packed);
  CRIA_VISIT(n_rows);
  CRIA_VISIT(n_cols);
  CRIA_VISIT(tiles.strip_panels);
  CRIA_VISIT(tiles.tile_columns);
  return {};
}

template <typename Io>
Status visit_buffer(Io& io, NpuBuffer& v) {
  CRIA_RETURN_IF_ERROR(io.name(v.name, "buffer name"));
  CRIA_VISIT(offset_bytes);
  CRIA_VISIT(size_bytes);
  CRIA_VISIT(first);
  CRIA_VISIT(last);
  return {};
}

template <typename Io>
Status visit_op(Io& io, NpuOp& v) {
  CRIA_RETURN_IF_ERROR(io.name(v.kind, "op kind"));
  CRIA_RETURN_IF_ERROR(io.name(v.name, "op name"));
  auto layer = static_cast<std::uint32_t>(v.layer + 1);  // 0: of no layer
  CRIA_RETURN_IF_ERROR(io.number(layer, "op layer"));
  v.layer = static_cast<std::int32_t>(layer) - 1;
  return {};
}

template <typename Io>
Status visit_operand(Io& io, NpuOperand& v) {
  std::uint32_t buffer = v.buffer + 1;  // 0: none
  CRIA_RETURN_IF_ERROR(io.number(buffer, "operand buffer"));
  v.buffer = buffer - 1;
  if (v.buffer == kNpuNone) return {};
  CRIA_VISIT(offset);
  CRIA_VISIT(stride);
  return {};
}

template <typename Io>
Status visit_flags(Io& io, NpuCommand& v) {
  bool* const flags[] = {&v.one_row,  &v.accumulate, &v.float_input, &v.is_value,
                         &v.last_row, &v.to_result,  &v.inverse,     &v.records};
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < std::size(flags); ++i) bits |= std::uint32_t{*flags[i]} << i;
  CRIA_RETURN_IF_ERROR(io.number(bits, "command flags"));
  if (bits >> std::size(flags) != 0) return bad_input("has flags {:#x}", bits);
  for (std::size_t i = 0; i < std::size(flags); ++i) *flags[i] = (bits >> i & 1) != 0;
  return {};
}

template <typename Io>
Status visit_command(Io& io, NpuCommand& v) {
  CRIA_VISIT(kind);
  CRIA_VISIT(engine);
  CRIA_RETURN_IF_ERROR(visit_flags(io, v));
  CRIA_VISIT(op);
  CRIA_VISIT(first_row);
  CRIA_VISIT(n_rows);
  std::uint32_t weight = v.weight + 1;
  CRIA_RETURN_IF_ERROR(io.number(weight, "weight"));
  v.weight = weight - 1;
  CRIA_VISIT(first_panel);
  CRIA_VISIT(n_out);
  CRIA_VISIT(n_cols);
  CRIA_VISIT(n_bytes);
  CRIA_VISIT(dram_offset);
  CRIA_VISIT(dram_stride);
  CRIA_VISIT(layer);
  CRIA_VISIT(first_head);
  CRIA_VISIT(n_heads);
  CRIA_VISIT(group);
  CRIA_VISIT(tile);
  CRIA_RETURN_IF_ERROR(io.real(v.scale, "scale"));
  for (NpuOperand* operand : {&v.x, &v.y, &v.z, &v.out})
    CRIA_RETURN_IF_ERROR(visit_operand(io, *operand));
  return io.list(v.after, "dependency",
                 [](Io& io, std::uint32_t& index) { return io.number(index, "dependency"); });
}

template <typename Io>
Status visit_head(Io& io, NpuCommands& v) {
  CRIA_RETURN_IF_ERROR(io.name(v.profile_name, "profile name"));
  CRIA_RETURN_IF_ERROR(io.text(v.profile_text, kMaxProfileBytes, "profile"));
  CRIA_VISIT(max_tokens);
  CRIA_VISIT(max_context);
  CRIA_VISIT(n_vocab);
  CRIA_VISIT(gives_result);
  CRIA_VISIT(single_row_result);
  CRIA_VISIT(cache.n_layers);
  CRIA_VISIT(cache.n_kv_heads);
  CRIA_VISIT(cache.head_dim);
  CRIA_VISIT(cache.k_type);
  CRIA_VISIT(cache.v_type);
  CRIA_VISIT(sram_bytes);
  CRIA_VISIT(align_bytes);
  CRIA_VISIT(scratch_bytes);
  return {};
}

template <typename Io>
Status visit_all(Io& io, NpuCommands& v) {
  CRIA_RETURN_IF_ERROR(visit_head(io, v));
  CRIA_RETURN_IF_ERROR(io.list(v.imports, "import", [](Io& io, NpuImport& v) -> Status {
    CRIA_VISIT(offset_bytes);
    CRIA_VISIT(size_bytes);
    return {};
  }));
  CRIA_RETURN_IF_ERROR(io.list(v.weights, "weight", visit_weight<Io>));
  CRIA_RETURN_IF_ERROR(io.list(v.buffers, "buffer", visit_buffer<Io>));
  CRIA_RETURN_IF_ERROR(io.list(v.ops, "op", visit_op<Io>));
  CRIA_RETURN_IF_ERROR(io.list(v.contexts, "context", [](Io& io, NpuContext& context) {
    return io.number(context.mapped_bytes, "mapped bytes");
  }));
  CRIA_RETURN_IF_ERROR(io.list(v.commands, "command", visit_command<Io>));
  return io.list(v.loops, "loop", [](Io& io, NpuLoop& v) -> Status {
    CRIA_VISIT(first);
    CRIA_VISIT(n);
    CRIA_VISIT(end_row);
    return {};
  });
}
#undef CRIA_VISIT

}  // namespace

std::vector<std::byte> encode_npu_commands(const NpuCommands& commands) {
  Writer out;
  std::uint32_t start[] = {kNpuMagic, kNpuVersion};
  out.append(start, sizeof(start));
  NpuCommands copy = commands;  // the visitor takes what it could also fill
  const Status written = visit_all(out, copy);
  static_cast<void>(written);  // a writer has nothing to refuse
  return out.take();
}

bool is_npu_commands(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kNpuMagic) &&
         std::memcmp(bytes.data(), &kNpuMagic, sizeof(kNpuMagic)) == 0;
}

Result<NpuCommands> decode_npu_commands(std::span<const std::byte> bytes, std::string_view what) {
  ByteReader in(bytes, what);
  CRIA_ASSIGN_OR_RETURN(const auto magic, in.read<std::uint32_t>("magic"));
  if (magic != kNpuMagic) {
    return bad_input("{}: starts with {:#010x}, NPU commands start with {:#010x}", what, magic,
                     kNpuMagic);
  }
  CRIA_ASSIGN_OR_RETURN(const auto version, in.read<std::uint32_t>("version"));
  if (version != kNpuVersion) {
    return unsupported(
        "{}: NPU commands of version {}, this build reads version {}; compile the model again",
        what, version, kNpuVersion);
  }
  NpuCommands commands;
  Reader reader(in);
  CRIA_RETURN_IF_ERROR(visit_all(reader, commands));
  if (in.remaining() != 0) {
    return bad_input("{}: {} bytes follow the commands, expected none", what, in.remaining());
  }
  CRIA_RETURN_IF_ERROR(verify_npu_commands(commands).with_context(std::string(what)));
  return commands;
}

}  // namespace cria
