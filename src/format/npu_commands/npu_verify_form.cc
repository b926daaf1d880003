// Each command by itself: what its kind needs, sizes that agree, and that it stays where it may.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "format/npu_commands/npu_access.h"
#include "format/npu_commands/npu_verify.h"

namespace cria {
namespace {

constexpr std::uint32_t kMaxColumns = 1u << 24;
// A verifier of bytes from nowhere must not take for ever: rows of all operands together.
constexpr std::uint64_t kMaxRowsOfAll = std::uint64_t{1} << 26;

// Which operands and tables a kind has.
struct Form {
  bool x, y, z, out;
  bool weight, cache;
  bool loop;  // works on a tile: only in a loop
  bool columns;
};
constexpr Form kForms[kNpuCommandKinds] = {
    {false, false, false, true, true, false, false, false},  // kLoadWeight
    {false, false, false, true, true, false, false, false},  // kLoadStrip
    {false, false, false, true, false, false, false, true},  // kLoad
    {true, false, false, false, false, false, false, true},  // kStore
    {false, false, false, true, false, true, true, false},   // kLoadCache
    {false, false, false, true, false, true, false, false},  // kLoadCacheEdge
    {true, false, false, false, false, true, false, false},  // kStoreCache
    {true, true, true, true, true, false, false, true},      // kMatmul (y only without float_input)
    {true, false, true, true, false, true, true, false},     // kScores
    {false, true, true, true, false, true, true, false},     // kMix
    {true, true, false, true, false, false, false, true},    // kQuantize
    {true, true, false, true, false, false, false, true},    // kRmsNorm
    {true, true, false, true, false, false, false, true},    // kRopeAngles
    {true, true, false, true, false, false, false, true},    // kRope
    {true, true, false, true, false, false, false, true},    // kSwiGlu
    {true, true, false, true, false, false, false, true},    // kAdd
    {true, true, false, true, false, false, false, true},    // kMul
    {true, false, false, true, false, false, false, true},   // kSilu
    {true, false, false, true, false, false, false, true},   // kCopyLastRow
    {true, false, false, true, true, false, false, true},    // kEmbedRow
    {true, false, false, true, false, true, false, false},   // kPackCache
    {true, false, false, true, false, true, false, false},  // kAttendBegin (x only without records)
    {true, true, false, false, false, true, true, false},   // kSoftmax
    {true, false, false, true, false, true, false, false},  // kAttendEnd
    {false, false, false, false, false, false, false, false},  // kSwitchContext
    {true, true, false, true, false, false, false, true},      // kHadamard
    {true, false, false, false, false, true, true, true},      // kStoreScores
    {false, false, false, true, false, true, true, true},      // kLoadScores
};

bool engine_fits(NpuCommandKind kind, NpuEngine engine) {
  switch (kind) {
    case NpuCommandKind::kLoadWeight:
    case NpuCommandKind::kLoadStrip:
      return engine == NpuEngine::kWeightDma;
    case NpuCommandKind::kLoad:
    case NpuCommandKind::kStore:
    case NpuCommandKind::kLoadCache:
    case NpuCommandKind::kLoadCacheEdge:
    case NpuCommandKind::kStoreCache:
    case NpuCommandKind::kStoreScores:
    case NpuCommandKind::kLoadScores:
      return engine == NpuEngine::kDataDma;
    case NpuCommandKind::kMatmul:
    case NpuCommandKind::kScores:
    case NpuCommandKind::kMix:
      return engine == NpuEngine::kMatrix || engine == NpuEngine::kVector;
    case NpuCommandKind::kSwitchContext:
      return engine == NpuEngine::kControl;
    default:
      return engine == NpuEngine::kVector;
  }
}

class FormVerifier {
 public:
  FormVerifier(const NpuCommands& all, std::uint32_t index)
      : all_(all), c_(all.commands[index]), index_(index) {}

  Status run(bool in_loop) {
    CRIA_RETURN_IF_ERROR(kind());
    const Form& form = kForms[static_cast<int>(c_.kind)];
    CRIA_RETURN_IF_ERROR(numbers(form));
    if (form.loop && !in_loop) return bad_input("works on a tile of the cache outside a loop");
    const bool has_y = form.y && !(c_.kind == NpuCommandKind::kMatmul && c_.float_input);
    const bool has_x = form.x && !(c_.kind == NpuCommandKind::kAttendBegin && c_.records);
    CRIA_RETURN_IF_ERROR(operand(c_.x, has_x, "x"));
    CRIA_RETURN_IF_ERROR(operand(c_.y, has_y, "y"));
    CRIA_RETURN_IF_ERROR(operand(c_.z, form.z, "z"));
    CRIA_RETURN_IF_ERROR(operand(c_.out, form.out, "out"));
    CRIA_RETURN_IF_ERROR(weight(form));
    for (const NpuAccess& access : npu_accesses(all_, c_)) {
      CRIA_RETURN_IF_ERROR(bounds(access));
      rows_ += access.n_rows;
    }
    return {};
  }
  std::uint64_t rows() const { return rows_; }

 private:
  Status kind() const {
    if (static_cast<int>(c_.kind) >= kNpuCommandKinds) {
      return bad_input("kind {}, known are 0 to {}", static_cast<int>(c_.kind),
                       kNpuCommandKinds - 1);
    }
    if (static_cast<int>(c_.engine) >= kNpuEngines || !engine_fits(c_.kind, c_.engine)) {
      return bad_input("on engine {}, which cannot do it", static_cast<int>(c_.engine));
    }
    return {};
  }

  Status numbers(const Form& form) const {
    const auto max_tokens = static_cast<std::uint64_t>(all_.max_tokens);
    if (c_.n_rows == 0 || std::uint64_t{c_.first_row} + c_.n_rows > max_tokens) {
      return bad_input("rows [{}, +{}), a call has {}", c_.first_row, c_.n_rows, max_tokens);
    }
    if (c_.one_row && c_.n_rows != 1) return bad_input("{} rows, expected one", c_.n_rows);
    if (c_.op >= all_.ops.size())
      return bad_input("of op {}, there are {}", c_.op, all_.ops.size());
    if (form.columns != (c_.n_cols != 0) || c_.n_cols > kMaxColumns)
      return bad_input("{} columns", c_.n_cols);
    const bool turns = c_.kind == NpuCommandKind::kHadamard;
    if (turns && (!std::has_single_bit(c_.n_out) || c_.n_cols % c_.n_out != 0)) {
      return bad_input("blocks of {} columns of {}", c_.n_out, c_.n_cols);
    }
    if (c_.inverse && !turns) return bad_input("is inverse, which only hadamard can be");
    if (!std::isfinite(c_.scale) || c_.scale < 0)  // kRmsNorm: epsilon
      return bad_input("scale {}, expected a finite number that is not negative", c_.scale);
    if (c_.last_row && c_.kind != NpuCommandKind::kLoad)
      return bad_input("takes the last row, which only load can");
    if (c_.tile >= kNpuTilesPerIteration)
      return bad_input("tile {} of {}", c_.tile, kNpuTilesPerIteration);
    if (c_.records && c_.kind != NpuCommandKind::kScores && c_.kind != NpuCommandKind::kMix &&
        c_.kind != NpuCommandKind::kAttendBegin) {
      return bad_input("has records, which only scores, mix and attend_begin can");
    }
    CRIA_RETURN_IF_ERROR(heads(form));
    return result();
  }

  Status heads(const Form& form) const {
    if (c_.kind == NpuCommandKind::kRope) {
      if (c_.n_heads == 0 || c_.n_heads > 4096) return bad_input("{} heads", c_.n_heads);
      if (std::uint64_t{2} * c_.n_cols * c_.n_heads > kMaxColumns)
        return bad_input("heads wider than {}", kMaxColumns);
      return {};
    }
    if (!form.cache) return {};
    const NpuCache& cache = all_.cache;
    if (c_.layer >= static_cast<std::uint32_t>(cache.n_layers)) {
      return bad_input("layer {}, the cache has {}", c_.layer, cache.n_layers);
    }
    if (c_.n_heads == 0 ||
        std::uint64_t{c_.first_head} + c_.n_heads > static_cast<std::uint64_t>(cache.n_kv_heads)) {
      return bad_input("heads [{}, +{}), the cache has {}", c_.first_head, c_.n_heads,
                       cache.n_kv_heads);
    }
    if (cache.head_dim == 0) return bad_input("works on heads, of which the cache has none");
    const bool attends =
        c_.kind == NpuCommandKind::kScores || c_.kind == NpuCommandKind::kMix ||
        c_.kind == NpuCommandKind::kSoftmax || c_.kind == NpuCommandKind::kAttendBegin ||
        c_.kind == NpuCommandKind::kAttendEnd || c_.kind == NpuCommandKind::kStoreScores ||
        c_.kind == NpuCommandKind::kLoadScores;
    if (attends && (c_.group == 0 || c_.group > 4096))
      return bad_input("{} query heads a head of the cache", c_.group);
    if ((c_.kind == NpuCommandKind::kScores && c_.is_value) ||
        (c_.kind == NpuCommandKind::kMix && !c_.is_value)) {
      return bad_input("multiplies with the wrong half of the cache");
    }
    return records();
  }

  // Score rows: room for every position that a call may see.
  Status records() const {
    const bool moves =
        c_.kind == NpuCommandKind::kStoreScores || c_.kind == NpuCommandKind::kLoadScores;
    if (!moves) return {};
    const std::uint64_t record = std::uint64_t{c_.n_heads} * c_.group * kNpuRecord;
    const auto positions = static_cast<std::uint64_t>(all_.max_context);
    if (positions == 0 || c_.n_cols % record != 0 ||
        c_.n_cols / record * kNpuCacheTile < positions) {
      return bad_input("{} floats of score rows for {} heads and {} positions", c_.n_cols,
                       std::uint64_t{c_.n_heads} * c_.group, positions);
    }
    return {};
  }

  Status result() const {
    if (c_.kind == NpuCommandKind::kCopyLastRow ||
        (c_.kind == NpuCommandKind::kLoad && c_.last_row)) {
      if (c_.first_row != 0 || c_.n_rows != all_.max_tokens)
        return bad_input("must look for the last of all rows");
    }
    if (!c_.to_result) return {};
    if (c_.kind != NpuCommandKind::kStore || !all_.gives_result)
      return bad_input("there is no result to store to");
    return {};
  }

  Status operand(const NpuOperand& operand, bool expected, const char* name) const {
    if (!expected) {
      if (operand.buffer == kNpuNone) return {};
      return bad_input("has an operand {}, expected none", name);
    }
    if (operand.buffer >= all_.buffers.size()) {
      return bad_input("operand {} is buffer {}, there are {}", name, operand.buffer,
                       all_.buffers.size());
    }
    const NpuBuffer& buffer = all_.buffers[operand.buffer];
    if (index_ < buffer.first || index_ > buffer.last) {
      return bad_input("operand {} is buffer '{}', which lives from command {} to {}", name,
                       buffer.name, buffer.first, buffer.last);
    }
    const bool dma = c_.engine == NpuEngine::kWeightDma || c_.engine == NpuEngine::kDataDma;
    const std::uint64_t alignment = dma ? all_.align_bytes : kNpuAlignment;
    if (operand.offset > buffer.size_bytes) {
      return bad_input("operand {} starts at byte {} of '{}', which has {}", name, operand.offset,
                       buffer.name, buffer.size_bytes);
    }
    if (operand.offset % alignment != 0) {
      return bad_input("operand {} starts at byte {} of '{}', expected a multiple of {}", name,
                       operand.offset, buffer.name, alignment);
    }
    if (operand.stride % kNpuAlignment != 0 || operand.stride > buffer.size_bytes) {
      return bad_input("operand {} has rows {} bytes apart, expected a multiple of {} within '{}'",
                       name, operand.stride, kNpuAlignment, buffer.name);
    }
    return {};
  }

  Status weight(const Form& form) const {
    if (!form.weight) return {};
    if (c_.weight >= all_.weights.size())
      return bad_input("weight {}, there are {}", c_.weight, all_.weights.size());
    const NpuWeight& w = all_.weights[c_.weight];
    if (c_.kind == NpuCommandKind::kLoadWeight) {
      const std::uint64_t size_bytes = npu_weight_bytes(w);
      if (c_.n_bytes == 0 || c_.n_bytes > size_bytes || c_.dram_offset > size_bytes - c_.n_bytes) {
        return bad_input("bytes [{}, +{}) of weight '{}', which has {}", c_.dram_offset, c_.n_bytes,
                         w.key, size_bytes);
      }
      return {};
    }
    if (!w.packed) return bad_input("weight '{}' is a vector, expected a matrix", w.key);
    if (c_.kind == NpuCommandKind::kLoadStrip || c_.kind == NpuCommandKind::kEmbedRow) {
      if (w.n_rows < all_.n_vocab) {
        return bad_input("weight '{}' has {} rows, the vocabulary {}", w.key, w.n_rows,
                         all_.n_vocab);
      }
      if (c_.n_rows != 1) return bad_input("{} rows, expected one", c_.n_rows);
    }
    if (c_.kind != NpuCommandKind::kLoadStrip && c_.n_cols != w.n_cols) {
      return bad_input("{} columns, weight '{}' has {}", c_.n_cols, w.key, w.n_cols);
    }
    return c_.kind == NpuCommandKind::kMatmul ? strips(w) : Status();
  }

  // A product takes whole strips: the device's order permutes the panels of a strip.
  Status strips(const NpuWeight& w) const {
    const auto n_rows = static_cast<std::uint64_t>(w.n_rows);
    const std::uint64_t first = std::uint64_t{c_.first_panel} * kPanelRows;
    const std::uint64_t strip = std::uint64_t{w.tiles.strip_panels} * kPanelRows;
    if (c_.n_out == 0 || first >= n_rows || c_.n_out > n_rows - first) {
      return bad_input("rows [{}, +{}) of weight '{}', which has {}", first, c_.n_out, w.key,
                       n_rows);
    }
    if (first % strip != 0 || (c_.n_out % strip != 0 && first + c_.n_out != n_rows)) {
      return bad_input("rows [{}, +{}) of weight '{}', expected whole strips of {}", first,
                       c_.n_out, w.key, strip);
    }
    if (encoding_spec(w.encoding).dense() && !c_.float_input) {
      return bad_input("weight '{}' in {} takes float activations", w.key,
                       encoding_spec(w.encoding).name);
    }
    return {};
  }

  Status bounds(const NpuAccess& a) const {
    // Extents are below 2^12 rows of 2^36 bytes; strides within a buffer or checked here.
    constexpr std::uint64_t kMaxStride = std::uint64_t{1} << 40;
    if (a.stride > kMaxStride || a.offset > (std::uint64_t{1} << 50)) {
      return bad_input("rows {} bytes apart from {} on", a.stride, a.offset);
    }
    if (a.n_rows > 1 && a.stride < a.row_bytes) {
      return bad_input("rows of {} bytes, {} apart", a.row_bytes, a.stride);
    }
    switch (a.memory) {
      case NpuMemory::kSram: {
        const NpuBuffer& b = all_.buffers[a.buffer];
        if (a.offset >= b.offset_bytes && a.end() <= b.offset_bytes + b.size_bytes) return {};
        return bad_input("touches [{}, {}) of SRAM, outside its buffer '{}' [{}, {})", a.offset,
                         a.end(), b.name, b.offset_bytes, b.offset_bytes + b.size_bytes);
      }
      case NpuMemory::kScratch:
        if (a.offset % sizeof(float) != 0 || a.stride % sizeof(float) != 0 ||
            a.end() > all_.scratch_bytes) {
          return bad_input("touches bytes [{}, {}) of scratch, which has {}", a.offset, a.end(),
                           all_.scratch_bytes);
        }
        return {};
      case NpuMemory::kResult: {
        const std::uint64_t row = static_cast<std::uint64_t>(all_.n_vocab) * sizeof(float);
        const bool shape = all_.single_row_result == c_.one_row;
        if (!shape || a.stride != row || a.offset % sizeof(float) != 0 ||
            a.offset % row + a.row_bytes > row ||
            a.offset / row != (c_.one_row ? 0 : c_.first_row)) {
          return bad_input("stores {} bytes at {} of a result with rows of {}", a.row_bytes,
                           a.offset, row);
        }
        return {};
      }
      case NpuMemory::kCache:
        return {};
    }
    return {};
  }

  const NpuCommands& all_;
  const NpuCommand& c_;
  std::uint32_t index_;
  std::uint64_t rows_ = 0;
};

// Dependencies of a command outside loops point back; those of one in a loop point back or into the
// loop.
Status verify_dependencies(const NpuCommand& command, std::uint32_t index, const NpuLoop* loop) {
  for (const std::uint32_t after : command.after) {
    const bool in_loop = loop != nullptr && after >= loop->first && after < loop->first + loop->n;
    if (after < index || in_loop) continue;
    return bad_input("waits for command {}, which does not run before it", after);
  }
  return {};
}

}  // namespace

Status verify_npu_forms(const NpuCommands& commands) {
  std::size_t next_loop = 0;
  std::uint64_t rows = 0;
  for (std::uint32_t i = 0; i < commands.commands.size(); ++i) {
    while (next_loop < commands.loops.size() &&
           i >= commands.loops[next_loop].first + commands.loops[next_loop].n) {
      ++next_loop;
    }
    const bool in_loop = next_loop < commands.loops.size() && i >= commands.loops[next_loop].first;
    const NpuLoop* loop = in_loop ? &commands.loops[next_loop] : nullptr;
    FormVerifier verifier(commands, i);
    Status status = verifier.run(in_loop);
    if (status.ok()) status = verify_dependencies(commands.commands[i], i, loop);
    if (status.ok() && in_loop && commands.commands[i].kind == NpuCommandKind::kSwitchContext) {
      status = bad_input("changes the context in a loop");
    }
    rows += verifier.rows();
    if (status.ok() && rows > kMaxRowsOfAll)
      status = bad_input("more rows in all than {}", kMaxRowsOfAll);
    if (status.ok()) continue;
    const auto kind = static_cast<int>(commands.commands[i].kind);
    return std::move(status).with_context(
        fmt::format("command {} ({})", i,
                    kind < kNpuCommandKinds ? npu_command_name(commands.commands[i].kind) : "?"));
  }
  return {};
}

}  // namespace cria
