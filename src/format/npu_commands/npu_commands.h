// The compiled form of one method for a simulated NPU: what targets/sim_npu writes,
// delegates/sim_npu runs and npu_sim times.
//
// The device has a scratchpad (SRAM) and five engines. Everything that is computed lies in SRAM;
// DMA engines bring it there from DRAM and take it back. Each engine works through its own commands
// in the order of the list, one after the other; engines wait for each other only through the
// dependencies that a command names. A command is a macro tile: a transfer of up to about 1 MiB, a
// product of all rows with a range of panels, a pass over a block of rows.
//
//   weight DMA   weights, gains and embedding rows: DRAM -> ring of tiles in SRAM
//   data DMA     activations, keys and values, results: DRAM <-> SRAM
//   matrix       products: weights in SRAM x activations in SRAM -> SRAM
//   vector       everything else
//   control      changes of the address window
//
// Commands are made for `max_tokens` rows. A call may bring fewer: then every command does less of
// its rows, in the same order. A loop runs once for each pair of tiles of the cache that the call
// sees.
//
// Encoded as a small little-endian binary (docs/npu.md); decoding trusts nothing. After
// decode_npu_commands() succeeded the commands pass verify_npu_commands() (npu_verify.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/device_tiles.h"
#include "tensor/encoding.h"
#include "tensor/kv_layout.h"

namespace cria {

inline constexpr std::uint32_t kNpuMagic = 0x55504e43;  // "CNPU"
inline constexpr std::uint32_t kNpuVersion = 6;
inline constexpr std::uint32_t kNpuNone = 0xffffffff;  // no buffer, no weight
inline constexpr std::int64_t kNpuCacheTile = 128;     // positions that one attention step reads
inline constexpr std::int64_t kNpuTilesPerIteration =
    2;  // of a loop: one is read while the other is attended to
// Floats of a head's record of one tile, where another device makes weights of scores: as those of
// score rows in format/plan/plan.h.
inline constexpr std::int64_t kNpuRecord = 144;
inline constexpr std::uint32_t kNpuAlignment =
    64;  // of every operand; buffers and transfers: NpuCommands::align_bytes

enum class NpuEngine : std::uint8_t {
  kWeightDma = 0,
  kDataDma = 1,
  kMatrix = 2,
  kVector = 3,
  kControl = 4
};
inline constexpr int kNpuEngines = 5;

// Rows below are those of the command: [first_row, first_row + n_rows) of the call's tokens.
// Operands are rows in SRAM, `stride` bytes apart; "x[c]" has c values of 4 bytes a row. `panel`
// and `strip`: tensor/device_tiles.h.
enum class NpuCommandKind : std::uint8_t {
  // DMA. `out` is contiguous unless it says rows.
  kLoadWeight = 0,  // out = n_bytes of `weight` from dram_offset on
  kLoadStrip = 1,   // out = the strip of `weight` that holds row tokens[first_row]
  kLoad = 2,  // out rows[n_cols] = rows of scratch at dram_offset, dram_stride apart; last_row: the
              // call's last one
  kStore = 3,      // rows of scratch (or of the result) = x rows[n_cols]
  kLoadCache = 4,  // out = positions of this step's tile, of heads [first_head, + n_heads), keys or
                   // values of `layer`
  kLoadCacheEdge =
      5,  // out = for those heads, the panels (KvType::kQ8) that the rows' positions touch
  kStoreCache = 6,  // the cache = x, which kPackCache made
  // Products.
  kMatmul = 7,  // out rows[n_out] (+)= x * weight[16 * first_panel ..][n_out rows]^T. z: the
                // panels, in device order.
                // x: codes and y: blocks of kQuantize, or, if float_input, x rows[n_cols]
  kScores =
      8,  // out = scale * q . k: x rows[heads of q], z: keys of the tile -> [rows][heads][tile]
  kMix =
      9,  // out (attention state) += p . v: y: weights [rows][heads][tile], z: values of the tile
  // Vector.
  kQuantize = 10,    // x rows[n_cols] -> out: int8 codes, y: their blocks (kernels quantize_a8)
  kRmsNorm = 11,     // out = x * rsqrt(mean(x^2) + scale) * y, rows[n_cols]; y: the gain
  kRopeAngles = 12,  // x: n_cols frequencies -> out: cos, y: sin of their angles at the rows'
                     // positions, rows[n_cols]
  kRope = 13,    // turns n_heads heads of 2 * n_cols values of out rows in place; x: cos, y: sin,
                 // rows[n_cols]
  kSwiGlu = 14,  // out = silu(x) * y, rows[n_cols]
  kAdd = 15,     // out = x + y
  kMul = 16,     // out = x * y
  kSilu = 17,    // out = silu(x)
  kCopyLastRow = 18,  // out (one row) = the call's last row of x, rows[n_cols]
  kEmbedRow = 19,   // out rows[n_cols] (one row) = row tokens[first_row] of `weight`, of which x is
                    // the strip
  kPackCache = 20,  // x rows[n_heads * head_dim] -> out: as the cache has them, [n_heads] of the
                    // rows' positions
  kAttendBegin = 21,  // out: the attention state [rows][heads] = empty, for queries x rows[heads]
  kSoftmax = 22,      // scores x -> weights x, in place; y: the state: largest score and sum
  kAttendEnd = 23,    // out rows[heads of q] = x (state): mixed values / sum
  // Control.
  kSwitchContext = 24,  // waits for all before it; what follows maps context `first_panel`
  kHadamard = 25,  // vector; out = x rows[n_cols] turned in blocks of n_out, y: the signs (kernels
                   // hadamard)
  // DMA, of records of this step's tile, in place of kSoftmax (another device does that).
  kStoreScores = 26,  // score rows of scratch = x [rows][heads of q][kNpuRecord]; dram_offset: of
                      // the heads' first record, n_cols: floats of them all
  kLoadScores = 27,   // the other way, into out
};
inline constexpr int kNpuCommandKinds = 28;

// A named weight of the program and how it lies there.
struct NpuWeight {
  std::string key;
  Encoding encoding = Encoding::kF32;
  bool packed = true;  // device tiles; else a plain float32 vector [n_cols]
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  DeviceTiles tiles;  // of all packed weights of a program the same
  bool operator==(const NpuWeight&) const = default;
};

// A range of SRAM that holds one thing from command `first` to command `last` (of the list, both
// included).
struct NpuBuffer {
  std::string name;
  std::uint64_t offset_bytes = 0;  // a multiple of align_bytes
  std::uint64_t size_bytes = 0;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  bool operator==(const NpuBuffer&) const = default;
};

// What commands work for, for reports: one op of the plan.
struct NpuOp {
  std::string kind;  // "linear"
  std::string name;  // "blk.3.qkv"
  std::int32_t layer = -1;
  bool operator==(const NpuOp&) const = default;
};

struct NpuOperand {
  std::uint32_t buffer = kNpuNone;
  std::uint64_t offset = 0;  // from the buffer's start
  std::uint64_t stride = 0;  // bytes from row to row; 0: without gaps
  bool operator==(const NpuOperand&) const = default;
};

// Members that a kind has no use for stay as they are here.
struct NpuCommand {
  NpuCommandKind kind = NpuCommandKind::kAdd;
  NpuEngine engine = NpuEngine::kVector;
  bool one_row = false;      // works on one row whatever the call brings
  bool accumulate = false;   // kMatmul: adds to out
  bool float_input = false;  // kMatmul: x is float
  bool is_value = false;     // cache commands: values, else keys
  bool last_row = false;     // kLoad
  bool inverse = false;      // kHadamard
  bool to_result = false;    // kStore: to the logits, else to scratch
  bool records = false;      // kScores: out is [rows][heads][kNpuRecord]; kMix: y is, and has the
                             // factors and the sum of its state; kAttendBegin: so it will be, and
                             // there is no x
  std::uint32_t op = 0;      // index into ops
  std::uint32_t first_row = 0;
  std::uint32_t n_rows = 1;
  std::uint32_t weight = kNpuNone;
  std::uint32_t first_panel = 0;
  std::uint32_t n_out = 0;
  std::uint32_t n_cols = 0;
  std::uint64_t n_bytes = 0;
  std::uint64_t dram_offset = 0;
  std::uint64_t dram_stride = 0;
  std::uint32_t layer = 0;       // of the cache
  std::uint32_t first_head = 0;  // of the cache
  std::uint32_t n_heads = 0;     // of the cache; kRope: any
  std::uint32_t group = 0;       // query heads that share a head of the cache
  std::uint32_t tile = 0;        // which tile of its loop's iteration
  float scale = 0;               // kScores, kAttendBegin; kRmsNorm: epsilon
  NpuOperand x, y, z, out;
  // Commands that must be done before. An index below its own: that command (in a loop: its last
  // run). Otherwise: the run of a command of the same loop in the iteration before, none in the
  // first.
  std::vector<std::uint32_t> after;
  bool operator==(const NpuCommand&) const = default;
};

// Commands [first, first + n) run ceil(positions seen by rows before end_row / 256) times.
struct NpuLoop {
  std::uint32_t first = 0;
  std::uint32_t n = 0;
  std::uint32_t end_row = 0;
  bool operator==(const NpuLoop&) const = default;
};

// As KvShape of format/plan: the cache lies in DRAM as the `cpu` delegate has it.
struct NpuCache {
  std::int32_t n_layers = 0;
  std::int32_t n_kv_heads = 0;
  std::int32_t head_dim = 0;
  KvType k_type = KvType::kF16;
  KvType v_type = KvType::kF16;
  bool operator==(const NpuCache&) const = default;
  std::uint64_t bytes_per_position() const;
  std::int64_t granularity() const;
  KvType type(bool is_value) const { return is_value ? v_type : k_type; }
  std::int64_t row_bytes(bool is_value) const { return kv_row_bytes(type(is_value), head_dim); }
};

// What a device's address window holds at a time: weights that commands between two switches use.
struct NpuContext {
  std::uint64_t mapped_bytes = 0;
  bool operator==(const NpuContext&) const = default;
};

// Bytes of scratch that hold activations of other devices before the first command.
struct NpuImport {
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
  bool operator==(const NpuImport&) const = default;
};

struct NpuCommands {
  std::string profile_name;  // "hexagon-v79"
  std::string profile_text;  // the TOML that it was compiled against
  std::int64_t max_tokens = 0;
  std::int64_t max_context = 0;  // positions that it was compiled for; 0: any
  std::int64_t n_vocab = 0;
  bool gives_result = true;       // stores logits
  bool single_row_result = true;  // of the last token only
  NpuCache cache;
  std::uint64_t sram_bytes = 0;  // used; at most the device's
  std::uint32_t align_bytes = 64;
  std::uint64_t scratch_bytes = 0;  // DRAM that the runtime lends
  std::vector<NpuImport> imports;
  std::vector<NpuWeight> weights;
  std::vector<NpuBuffer> buffers;
  std::vector<NpuOp> ops;
  std::vector<NpuContext> contexts;  // one or more
  std::vector<NpuCommand> commands;
  std::vector<NpuLoop> loops;  // ascending, not nested
  bool operator==(const NpuCommands&) const = default;
};

std::vector<std::byte> encode_npu_commands(const NpuCommands& commands);
// `what` names the source in errors. kBadInput: malformed, or refused by the verifier;
// kUnsupported: a newer version.
Result<NpuCommands> decode_npu_commands(std::span<const std::byte> bytes, std::string_view what);
bool is_npu_commands(std::span<const std::byte> bytes);  // by the magic

const char* npu_command_name(NpuCommandKind kind);  // "matmul"
const char* npu_engine_name(NpuEngine engine);      // "weight_dma"

// Bytes of a weight as the program has it; 0 if no memory could hold it.
std::uint64_t npu_weight_bytes(const NpuWeight& weight);

}  // namespace cria
