// The weight encodings of cria: how a matrix of weights is stored in a `.pte` and streamed by
// kernels.
//
// A block encoding is described by five properties, and every encoding is a row of one table:
//
//   w[r][k] = scale[r][b] * codebook(code[r][k]) + min[r][b]          b = k / block
//
//   bits      2, 3, 4, 5, 6 or 8 bits a code
//   codebook  what an unsigned code u stands for: kSigned u - 2^(bits-1), kUnsigned u, or a table
//             of 16 int8; kE8P: a code for 8 columns, a point of a lattice (tensor/e8p.h); kPairs:
//             a code for 4 columns of which two are not zero (tensor/pairs.h)
//   block     columns that share a scale (and a min): 16, 32, 64, 128, or kPerChannel: all of a row
//   scale     kF16: one half float a block; kE8M0: one byte e a block, 2^(e-128);
//             kSuper: one int8 a block, times a half float that 256 columns share
//   has_min   kF16: one half float a block is added; kSuper: minus (one uint8 a block times a half
//             float that 256 columns share)
//
// Encodings that differ in nothing but the block, "q4", "q4g64", "q4g128" and "q4c" (per channel),
// share their kernels: which scale a group of 32 columns has is a shift, PanelLayout::scale_shift.
//
// Every block type of GGUF maps onto one of them without loss (tensor/storage_type.h).
//
// Packed layout (one for all instruction sets). The rows of a matrix [rows, cols] are cut into
// panels of 16 (the last one is padded with zero codes and zero scales). A panel is stored
// contiguously, in the order in which kernels read it, in lines of 64 bytes:
//
//   codes   of each 32 columns (cols padded up to 32): `bits` planes of 64 bytes, see below
//   scales  of each 32 columns, or of a block that is wider, a unit: 16 scales a block, one a row
//           (half floats, or bytes), then, if has_min, 16 mins a block (half floats, or uint8).
//           Units of 64, 32 or 16 bytes: one, two or four to a line, which precedes the codes of
//           the columns of the first; these are a section
//   supers  kSuper, of each 256 columns: 16 half floats for the scales, then, if has_min, 16 for
//           the mins. One or two to a line, which precedes the section of the columns of the first
//
// For a processor sees a stream of lines coming, and where it breaks off it waits: a Zen 4 core
// reads 30 GB/s in this order, 22 where the scales of a panel, asked for in advance, followed its
// codes.
//
// Codes: 32 columns are eight quads of 4. In a plane, lane l = 4*row + j (0 <= l < 64) belongs to
// row l/4 and column 4*quad + l%4. An 8-bit plane holds one quad, a 4-bit plane two (low nibble
// quad 2p, high nibble quad 2p+1), a 2-bit plane four (bits 2i and 2i+1: quad 4p+i), a 1-bit plane
// all eight (bit i: quad i). 8 bits = 8 8-bit planes; 4 bits = 4 4-bit planes; 2 bits = 2 2-bit
// planes; 3, 5 and 6 bits = the low planes (2, 4, 4 bits) of the 32 columns followed by the high
// planes (1, 1, 2 bits).
//
// Codes for 4 or 8 columns are stored apart, in planes of bytes. kE8P has a word of `bits` bytes
// for 8 columns: byte i is in plane i, lane 4*row + (columns / 8). kPairs: planes 0 and 1 have the
// codes of quads 0 to 3 and 4 to 7 in lane 4*row + quad%4, both in a byte if they have 4 bits; if
// 8, planes 2 and 3 have the second codes; the last plane has the places (4 bits) of quads 0 to 3
// in the low nibbles, of 4 to 7 in the high ones.
//
// Dense encodings (f32, f16, bf16): a panel is [cols][16 rows] elements.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

// The encodings that also come in blocks wider than 32 columns.
#define CRIA_FOR_EACH_WIDE_BLOCK_ENCODING(X)      \
  X(Q8, "q8", 8, Codebook::kSigned, false)        \
  X(Q8Min, "q8min", 8, Codebook::kSigned, true)   \
  X(Q4, "q4", 4, Codebook::kSigned, false)        \
  X(Q4Min, "q4min", 4, Codebook::kUnsigned, true) \
  X(Q4Nl, "q4nl", 4, Codebook::kIq4Nl, false)     \
  X(Q3, "q3", 3, Codebook::kSigned, false)        \
  X(Q3Min, "q3min", 3, Codebook::kUnsigned, true) \
  X(Q2, "q2", 2, Codebook::kSigned, false)        \
  X(Q2Min, "q2min", 2, Codebook::kUnsigned, true)
// Those that came later.
#define CRIA_FOR_EACH_LATER_WIDE_BLOCK_ENCODING(X) \
  X(Q6, "q6", 6, Codebook::kSigned, false)         \
  X(Q5, "q5", 5, Codebook::kSigned, false)

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
  kQ2 = 18,      // 2-bit, blocks of 32
  kQ2Min = 19,
  kQ3Min = 20,
  kQ8Min = 21,
// Wider blocks: 64 columns, 128, and per channel. New rows go to the end, numbers stay.
#define CRIA_ENCODING_ROW(name, text, bits, codebook, has_min) \
  k##name##G64, k##name##G128, k##name##C,
  CRIA_FOR_EACH_WIDE_BLOCK_ENCODING(CRIA_ENCODING_ROW)
      kE8P2G32,  // E8P, 2, 3 and 4 bits a weight, blocks of 32
  kE8P3G32,
  kE8P4G32,
  kE8P2,  // one scale a row
  kE8P3,
  kE8P4,
  kQ4S24,  // q4 and q8 of which two in four columns are zero
  kQ8S24,
  CRIA_FOR_EACH_LATER_WIDE_BLOCK_ENCODING(CRIA_ENCODING_ROW)
#undef CRIA_ENCODING_ROW
};
inline constexpr int kEncodingCount = 63;

enum class Codebook : std::uint8_t { kNone, kSigned, kUnsigned, kIq4Nl, kMxfp4, kE8P, kPairs };
enum class ScaleKind : std::uint8_t { kNone, kF16, kE8M0, kSuper };

inline constexpr int kPanelRows = 16;
inline constexpr int kColumnGroup = 32;  // columns a group of code planes
inline constexpr int kSuperBlock = 256;  // columns that share a super scale
inline constexpr int kGroupsPerSuper = kSuperBlock / kColumnGroup;

struct EncodingSpec {
  Encoding encoding;
  const char* name;   // the name in recipes, files and reports: "q4nl"
  int bits;           // a weight's code; 32 or 16 for dense encodings
  Codebook codebook;  // kNone: dense
  int block;          // columns a scale, or kPerChannel; 1 for dense
  ScaleKind scale;
  bool has_min;

  constexpr bool dense() const { return codebook == Codebook::kNone; }
  // Columns that share a code.
  constexpr int code_columns() const {
    return codebook == Codebook::kE8P ? 8 : codebook == Codebook::kPairs ? 4 : 1;
  }

  // Bytes of a panel, which has 16 rows: one plane of codes; the codes of a column group.
  static constexpr int kPlaneBytes = 64;
  constexpr int group_bytes() const { return bits * kPlaneBytes; }
  // Of the scales of a block, as many as of its mins; of what 256 columns share.
  constexpr int scale_bytes() const { return kPanelRows * (scale == ScaleKind::kF16 ? 2 : 1); }
  constexpr int super_bytes() const {
    return scale == ScaleKind::kSuper ? 2 * kPanelRows * (has_min ? 2 : 1) : 0;
  }
  // Blocks of a unit of scales, and its bytes.
  constexpr int unit_blocks() const { return block < kColumnGroup ? kColumnGroup / block : 1; }
  constexpr int unit_bytes() const { return unit_blocks() * scale_bytes() * (has_min ? 2 : 1); }
  // Units that fill a line are two to this power; column groups between two lines of supers.
  constexpr int log_section_units() const {
    return std::countr_zero(static_cast<unsigned>(kPlaneBytes / unit_bytes()));
  }
  constexpr std::int64_t groups_per_super_line() const {
    return kPlaneBytes / super_bytes() * kGroupsPerSuper;
  }

  // Where the parts of column group `g` lie, in bytes from the start of a panel: its codes; the
  // scales of its first block, in wide blocks of the one it belongs to, the others behind them,
  // mins behind all scales; its super scales, super mins behind them. scale_shift: PanelLayout's.
  constexpr std::int64_t codes_offset(std::int64_t g, int scale_shift) const {
    std::int64_t lines = (g >> (scale_shift + log_section_units())) + 1;
    if (scale == ScaleKind::kSuper) lines += g / groups_per_super_line() + 1;
    return g * group_bytes() + lines * kPlaneBytes;
  }
  // Where the lines begin that are read for it: its codes, or lines of scales or supers before.
  constexpr std::int64_t group_offset(std::int64_t g, int scale_shift) const {
    return g == 0 ? 0 : codes_offset(g - 1, scale_shift) + group_bytes();
  }
  constexpr std::int64_t scales_offset(std::int64_t g, int scale_shift) const {
    const int section_shift = scale_shift + log_section_units();
    const std::int64_t first = g >> section_shift << section_shift;
    return codes_offset(first, scale_shift) - kPlaneBytes +
           ((g - first) >> scale_shift) * unit_bytes();
  }
  constexpr std::int64_t supers_offset(std::int64_t g) const {
    if (scale != ScaleKind::kSuper) return 0;
    const std::int64_t first = g / groups_per_super_line() * groups_per_super_line();
    return codes_offset(first, 0) - 2 * kPlaneBytes + (g - first) / kGroupsPerSuper * super_bytes();
  }
};

// The block of encodings with one scale a row: so many columns that no row has a second block, and
// a power of two, so that everything said about blocks holds for it.
inline constexpr int kPerChannel = 1 << 30;

// The table row of an encoding. REQUIRES: a valid enumerator (check numbers from files with
// encoding_from_number).
constexpr EncodingSpec encoding_spec(Encoding encoding);
std::optional<Encoding> encoding_from_name(std::string_view name);
std::optional<Encoding> encoding_from_number(std::uint32_t number);

// The encoding that differs from this one in nothing but its block; nullopt where there is none.
std::optional<Encoding> encoding_with_block(Encoding encoding, int block);

// The encoding with the same codes, with or without a min, whose scales are one half float a block
// of `block` columns, also where this one's are of two levels; nullopt where there is none.
std::optional<Encoding> plain_encoding(Encoding encoding, int block);

// The encoding with the same kernels: the one in blocks of 32, or `encoding` itself.
constexpr Encoding kernel_form(Encoding encoding);

// The 16 values of a table codebook (kIq4Nl, kMxfp4).
const std::int8_t* codebook_values(Codebook codebook);

// What a width adds to EncodingSpec's offsets.
struct PanelLayout {
  std::size_t size_bytes = 0;  // a multiple of 64
  int scale_shift = 0;  // blocks of 32 columns and more: column group g has scale g >> scale_shift
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
    {Encoding::kQ2, "q2", 2, Codebook::kSigned, 32, ScaleKind::kF16, false},
    {Encoding::kQ2Min, "q2min", 2, Codebook::kUnsigned, 32, ScaleKind::kF16, true},
    {Encoding::kQ3Min, "q3min", 3, Codebook::kUnsigned, 32, ScaleKind::kF16, true},
    {Encoding::kQ8Min, "q8min", 8, Codebook::kSigned, 32, ScaleKind::kF16, true},
#define CRIA_ENCODING_ROW(name, text, bits, codebook, has_min)                               \
  {Encoding::k##name##G64, text "g64", bits, codebook, 64, ScaleKind::kF16, has_min},        \
      {Encoding::k##name##G128, text "g128", bits, codebook, 128, ScaleKind::kF16, has_min}, \
      {Encoding::k##name##C, text "c", bits, codebook, kPerChannel, ScaleKind::kF16, has_min},
    CRIA_FOR_EACH_WIDE_BLOCK_ENCODING(CRIA_ENCODING_ROW)
    // Codes for several columns.
    {Encoding::kE8P2G32, "e8p2g32", 2, Codebook::kE8P, 32, ScaleKind::kF16, false},
    {Encoding::kE8P3G32, "e8p3g32", 3, Codebook::kE8P, 32, ScaleKind::kF16, false},
    {Encoding::kE8P4G32, "e8p4g32", 4, Codebook::kE8P, 32, ScaleKind::kF16, false},
    {Encoding::kE8P2, "e8p2", 2, Codebook::kE8P, kPerChannel, ScaleKind::kF16, false},
    {Encoding::kE8P3, "e8p3", 3, Codebook::kE8P, kPerChannel, ScaleKind::kF16, false},
    {Encoding::kE8P4, "e8p4", 4, Codebook::kE8P, kPerChannel, ScaleKind::kF16, false},
    {Encoding::kQ4S24, "q4s24", 3, Codebook::kPairs, 32, ScaleKind::kF16, false},
    {Encoding::kQ8S24, "q8s24", 5, Codebook::kPairs, 32, ScaleKind::kF16, false},
    CRIA_FOR_EACH_LATER_WIDE_BLOCK_ENCODING(CRIA_ENCODING_ROW)
#undef CRIA_ENCODING_ROW
};

constexpr EncodingSpec encoding_spec(Encoding encoding) {
  return kEncodingTable[static_cast<int>(encoding)];
}

constexpr Encoding find_kernel_form(const EncodingSpec& spec) {
  if (spec.block <= kColumnGroup) return spec.encoding;
  for (const EncodingSpec& row : kEncodingTable) {
    if (row.block == kColumnGroup && row.bits == spec.bits && row.codebook == spec.codebook &&
        row.scale == spec.scale && row.has_min == spec.has_min) {
      return row.encoding;
    }
  }
  return spec.encoding;
}

inline constexpr auto kKernelForms = [] {
  std::array<Encoding, kEncodingCount> forms{};
  for (int i = 0; i < kEncodingCount; ++i) forms[i] = find_kernel_form(kEncodingTable[i]);
  return forms;
}();

constexpr Encoding kernel_form(Encoding encoding) {
  return kKernelForms[static_cast<int>(encoding)];
}

}  // namespace cria
