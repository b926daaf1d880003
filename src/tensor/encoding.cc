#include "tensor/encoding.h"

#include <bit>
#include <limits>

#include "base/aligned_buffer.h"

namespace cria {
namespace {

// IQ4_NL's table, fitted by its authors to the distribution of weights; MXFP4 (E2M1) doubled, so
// that it is made of integers.
constexpr std::int8_t kIq4NlValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::int8_t kMxfp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) { return (a + b - 1) / b; }

// Beyond this many columns or rows no size is computed: products below stay far from 2^64.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 40;

}  // namespace

std::optional<Encoding> encoding_from_name(std::string_view name) {
  for (const EncodingSpec& spec : kEncodingTable) {
    if (name == spec.name) return spec.encoding;
  }
  return std::nullopt;
}

std::optional<Encoding> encoding_from_number(std::uint32_t number) {
  if (number >= kEncodingCount) return std::nullopt;
  return static_cast<Encoding>(number);
}

namespace {

// The row of the table that agrees with `want` in what its values are.
std::optional<Encoding> find_encoding(const EncodingSpec& want) {
  for (const EncodingSpec& spec : kEncodingTable) {
    if (spec.block == want.block && spec.bits == want.bits && spec.codebook == want.codebook &&
        spec.scale == want.scale && spec.has_min == want.has_min) {
      return spec.encoding;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Encoding> encoding_with_block(Encoding encoding, int block) {
  EncodingSpec want = encoding_spec(encoding);
  want.block = block;
  return find_encoding(want);
}

std::optional<Encoding> plain_encoding(Encoding encoding, int block) {
  EncodingSpec want = encoding_spec(encoding);
  want.block = block;
  want.scale = ScaleKind::kF16;
  return find_encoding(want);
}

const std::int8_t* codebook_values(Codebook codebook) {
  return codebook == Codebook::kMxfp4 ? kMxfp4Values : kIq4NlValues;
}

PanelLayout panel_layout(Encoding encoding, std::int64_t n_cols) {
  const EncodingSpec spec = encoding_spec(encoding);
  const auto cols = static_cast<std::uint64_t>(n_cols);
  PanelLayout layout;
  if (spec.dense()) {
    layout.size_bytes = align_up(cols * kPanelRows * spec.bits / 8, kVectorAlignment);
    return layout;
  }
  if (spec.block > kColumnGroup) {
    layout.scale_shift = std::countr_zero(static_cast<unsigned>(spec.block / kColumnGroup));
  }
  const auto last = static_cast<std::int64_t>(ceil_div(cols, kColumnGroup)) - 1;
  layout.size_bytes =
      static_cast<std::size_t>(spec.codes_offset(last, layout.scale_shift) + spec.group_bytes());
  return layout;
}

std::optional<std::size_t> packed_size_bytes(Encoding encoding, std::int64_t n_rows,
                                             std::int64_t n_cols) {
  if (n_rows <= 0 || n_cols <= 0 || n_rows > kMaxExtent || n_cols > kMaxExtent) return std::nullopt;
  const std::uint64_t panel_bytes = panel_layout(encoding, n_cols).size_bytes;
  const std::uint64_t n_panels = ceil_div(static_cast<std::uint64_t>(n_rows), kPanelRows);
  constexpr std::uint64_t kMax = std::numeric_limits<std::int64_t>::max();
  if (n_panels > kMax / panel_bytes) return std::nullopt;
  return n_panels * panel_bytes;
}

double bits_per_weight(Encoding encoding) {
  const EncodingSpec spec = encoding_spec(encoding);
  if (spec.dense()) return spec.bits;
  const int terms = spec.has_min ? 2 : 1;
  double bits = spec.bits + 8.0 * spec.scale_bytes() / kPanelRows * terms / spec.block;
  if (spec.scale == ScaleKind::kSuper) bits += 16.0 * terms / kSuperBlock;
  return bits;
}

}  // namespace cria
