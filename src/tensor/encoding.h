// The weight encodings of cria: how a matrix of weights is stored in a `.pte` and streamed by
// kernels.
//
// A block encoding is described by five properties, and every encoding is a row of one table:
//
//   w[r][k] = scale[r][b] * codebook(code[r][k]) + min[r][b]          b = k / block
//
//   bits      2, 3, 4, 5, 6 or 8 bits a code
//   codebook  what an unsigned code u stands for: kSigned u - 2^(bits-1), kUnsigned u, or a table
//   of 16 int8 block     16 or 32 columns that share a scale (and a min) scale     kF16: one half
//   float a block; kE8M0: one byte e a block, 2^(e-128);
//             kSuper: one int8 a block, times a half float that 256 columns share
//   has_min   kF16: one half float a block is added; kSuper: minus (one uint8 a block times a half
//   float
//             that 256 columns share)
//
// Every block type of GGUF maps onto one of them without loss (tensor/storage_type.h).
//
// Packed layout (one for all instruction sets). The rows of a matrix [rows, cols] are cut into
// panels of 16 (the last one is padded with zero codes and zero scales). A panel is stored
// contiguously, each region starting at a multiple of 64 bytes:
//
//   codes   for each 32 columns (cols padded up to 32): `bits` planes of 64 bytes, see below
//   scales  for each block: 16 scales, one a row (half floats, or bytes)
//   mins    for each block: 16 mins (half floats, or uint8), if has_min
//   supers  for each 256 columns: 16 half floats for the scales, then, if has_min, 16 for the mins
//
// Codes: 32 columns are eight quads of 4. In a plane, lane l = 4*row + j (0 <= l < 64) belongs to
// row l/4 and column 4*quad + l%4. An 8-bit plane holds one quad, a 4-bit plane two (low nibble
// quad 2p, high nibble quad 2p+1), a 2-bit plane four (bits 2i and 2i+1: quad 4p+i), a 1-bit plane
// all eight (bit i: quad i). 8 bits = 8 8-bit planes; 4 bits = 4 4-bit planes; 2 bits = 2 2-bit
// planes; 3, 5 and 6 bits = the low planes (2, 4, 4 bits) of the 32 columns followed by the high
// planes (1, 1, 2 bits).
//
// Dense encodings (f32, f16, bf16): a panel is [cols][16 rows] elements.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cria {

enum class Encoding : std::uint8_t {
  kF32 = 0,
  kF16 = 1,
  kBF16 = 2,
  kQ8 = 3,       // int8, blocks of 32; carries Q8_0
  kQ6 = 4,       // 6-bit, blocks of 32
  kQ5 = 5,       // carries Q5_0
  kQ4 = 6,       // 4-bit linear; carries Q4_0
  kQ4Nl = 7,     // 4-bit codebook; carries IQ4_NL
  kMxfp4 = 8,    // 4-bit float codes, power-of-two scales; carries MXFP4
  kQ3 = 9,       // 3-bit, blocks of 32
  kQ4Min = 10,   // carries Q4_1
  kQ5Min = 11,   // carries Q5_1
  kQ2KMin = 12,  // carries Q2_K
  kQ3K = 13,     // carries Q3_K
  kQ4KMin = 14,  // carries Q4_K
  kQ5KMin = 15,  // carries Q5_K
  kQ6K = 16,     // carries Q6_K
  kQ4NlK = 17,   // carries IQ4_XS
};
inline constexpr int kEncodingCount = 18;

enum class Codebook : std::uint8_t { kNone, kSigned, kUnsigned, kIq4Nl, kMxfp4 };
enum class ScaleKind : std::uint8_t { kNone, kF16, kE8M0, kSuper };

struct EncodingSpec {
  Encoding encoding;
  const char* name;   // the name in recipes, files and reports: "q4nl"
  int bits;           // a weight's code; 32 or 16 for dense encodings
  Codebook codebook;  // kNone: dense
  int block;          // columns a scale; 1 for dense
  ScaleKind scale;
  bool has_min;

  constexpr bool dense() const { return codebook == Codebook::kNone; }
};

inline constexpr int kPanelRows = 16;
inline constexpr int kColumnGroup = 32;  // columns a group of code planes
inline constexpr int kSuperBlock = 256;  // columns that share a super scale

// The table row of an encoding. REQUIRES: a valid enumerator (check numbers from files with
// encoding_from_number).
constexpr EncodingSpec encoding_spec(Encoding encoding);
std::optional<Encoding> encoding_from_name(std::string_view name);
std::optional<Encoding> encoding_from_number(std::uint32_t number);

// The 16 values of a table codebook (kIq4Nl, kMxfp4).
const std::int8_t* codebook_values(Codebook codebook);

// Where the regions of one panel lie, in bytes from the panel's start.
struct PanelLayout {
  std::size_t codes_offset = 0;
  std::size_t scales_offset = 0;
  std::size_t mins_offset = 0;    // == scales' end when there are none
  std::size_t supers_offset = 0;  // == mins' end when there are none
  std::size_t size_bytes = 0;     // a multiple of 64
};
PanelLayout panel_layout(Encoding encoding, std::int64_t n_cols);

// Bytes of a packed matrix: ceil(rows / 16) panels. Returns nullopt on overflow or non-positive
// sizes, so that it can be asked about shapes from files.
std::optional<std::size_t> packed_size_bytes(Encoding encoding, std::int64_t n_rows,
                                             std::int64_t n_cols);

// Bits a weight including scales, for large matrices.
double bits_per_weight(Encoding encoding);

// --- implementation of the table
// ---------------------------------------------------------------------------

inline constexpr EncodingSpec kEncodingTable[kEncodingCount] = {
    {Encoding::kF32, "f32", 32, Codebook::kNone, 1, ScaleKind::kNone, false},
    {Encoding::kF16, "f16", 16, Codebook::kNone, 1, ScaleKind::kNone, false},
    {Encoding::kBF16, "bf16", 16, Codebook::kNone, 1, ScaleKind::kNone, false},
    {Encoding::kQ8, "q8", 8, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ6, "q6", 6, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ5, "q5", 5, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ4, "q4", 4, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ4Nl, "q4nl", 4, Codebook::kIq4Nl, 32, ScaleKind::kF16, false},
    {Encoding::kMxfp4, "mxfp4", 4, Codebook::kMxfp4, 32, ScaleKind::kE8M0, false},
    {Encoding::kQ3, "q3", 3, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ4Min, "q4min", 4, Codebook::kUnsigned, 32, ScaleKind::kF16, true},
    {Encoding::kQ5Min, "q5min", 5, Codebook::kUnsigned, 32, ScaleKind::kF16, true},
    {Encoding::kQ2KMin, "q2kmin", 2, Codebook::kUnsigned, 16, ScaleKind::kSuper, true},
    {Encoding::kQ3K, "q3k", 3, Codebook::kSigned, 16, ScaleKind::kSuper, false},
    {Encoding::kQ4KMin, "q4kmin", 4, Codebook::kUnsigned, 32, ScaleKind::kSuper, true},
    {Encoding::kQ5KMin, "q5kmin", 5, Codebook::kUnsigned, 32, ScaleKind::kSuper, true},
    {Encoding::kQ6K, "q6k", 6, Codebook::kSigned, 16, ScaleKind::kSuper, false},
    {Encoding::kQ4NlK, "q4nlk", 4, Codebook::kIq4Nl, 32, ScaleKind::kSuper, false},
};

constexpr EncodingSpec encoding_spec(Encoding encoding) {
  return kEncodingTable[static_cast<int>(encoding)];
}

}  // namespace cria
