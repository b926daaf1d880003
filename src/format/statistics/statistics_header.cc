#include "format/statistics/statistics_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <set>

#include "base/aligned_buffer.h"
#include "base/byte_reader.h"
#include "base/quote.h"
#include "format/statistics/fixed_point.h"

namespace cria {
namespace {

constexpr std::uint32_t kHasHessian = 1;
constexpr std::size_t kMaxNameBytes = 64;

struct Field {
  const char* name;
  std::int64_t ModelFingerprint::*member;
  std::int64_t max;
};
// Far above what exists, and small enough that no product below leaves 63 bits.
constexpr Field kModelFields[] = {
    {"n_layers", &ModelFingerprint::n_layers, 1 << 10},
    {"hidden", &ModelFingerprint::hidden, 1 << 20},
    {"ffn", &ModelFingerprint::ffn, 1 << 20},
    {"n_heads", &ModelFingerprint::n_heads, 1 << 20},
    {"n_kv_heads", &ModelFingerprint::n_kv_heads, 1 << 20},
    {"head_dim", &ModelFingerprint::head_dim, 1 << 20},
    {"n_vocab", &ModelFingerprint::n_vocab, 1 << 24},
};
constexpr std::int64_t kMaxWindowTokens = 1 << 24;
constexpr std::int64_t kMaxWindows = std::int64_t{1} << 36;
constexpr std::int64_t kMaxCols = 1 << 20;
constexpr std::uint32_t kMaxInputs = 1 << 13;
constexpr std::uint32_t kMaxTexts = 1 << 20;

Status check_range(std::string_view what, std::string_view field, std::int64_t value,
                   std::int64_t max) {
  if (value >= 1 && value <= max) return {};
  return bad_input("{}: {} is {}, expected 1 to {}", what, field, value, max);
}

template <typename T>
void append(std::vector<std::byte>& bytes, const T& value) {
  bytes.resize(bytes.size() + sizeof(T));
  std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
}

Status read_model(ByteReader& reader, ModelFingerprint& model) {
  for (const Field& field : kModelFields) {
    CRIA_ASSIGN_OR_RETURN(model.*field.member, reader.read<std::int64_t>(field.name));
  }
  CRIA_RETURN_IF_ERROR(check_range(reader.what(), "n_layers", model.n_layers, 1 << 10));
  for (std::int64_t i = 0; i <= model.n_layers; ++i) {
    CRIA_ASSIGN_OR_RETURN(const auto hash, reader.read<std::uint64_t>("the hash of a layer"));
    model.weight_hashes.push_back(hash);
  }
  return {};
}

Status read_texts(ByteReader& reader, std::uint32_t n_texts, StatisticsHeader& header) {
  for (std::uint32_t i = 0; i < n_texts; ++i) {
    TextRange range;
    CRIA_ASSIGN_OR_RETURN(range.text_hash, reader.read<std::uint64_t>("the hash of a text"));
    CRIA_ASSIGN_OR_RETURN(range.first_window, reader.read<std::int64_t>("the first window"));
    CRIA_ASSIGN_OR_RETURN(range.n_windows, reader.read<std::int64_t>("the number of windows"));
    header.texts.push_back(range);
  }
  return {};
}

Status read_inputs(ByteReader& reader, std::uint32_t n_inputs, StatisticsHeader& header) {
  for (std::uint32_t i = 0; i < n_inputs; ++i) {
    StatisticsInput input;
    CRIA_ASSIGN_OR_RETURN(input.n_cols, reader.read<std::int64_t>("the columns of an input"));
    CRIA_ASSIGN_OR_RETURN(input.sums_checksum, reader.read<std::uint64_t>("a checksum"));
    CRIA_ASSIGN_OR_RETURN(input.hessian_checksum, reader.read<std::uint64_t>("a checksum"));
    CRIA_ASSIGN_OR_RETURN(const auto n_bytes, reader.read<std::uint64_t>("the length of a name"));
    CRIA_ASSIGN_OR_RETURN(const auto name, reader.take_text(n_bytes, "the name of an input"));
    input.name = name;
    header.inputs.push_back(std::move(input));
  }
  return {};
}

Status check_texts(const std::vector<TextRange>& texts, std::string_view what) {
  if (texts.empty() || texts.size() > kMaxTexts) {
    return bad_input("{}: {} ranges of text, expected 1 to {}", what, texts.size(), kMaxTexts);
  }
  std::int64_t n_windows = 0;
  const TextRange* previous = nullptr;
  for (const TextRange& range : texts) {
    if (range.first_window < 0 || range.first_window > kMaxWindows) {
      return bad_input("{}: a range of text begins at window {}", what, range.first_window);
    }
    CRIA_RETURN_IF_ERROR(check_range(what, "the number of windows", range.n_windows, kMaxWindows));
    n_windows += range.n_windows;
    CRIA_RETURN_IF_ERROR(check_range(what, "the number of windows", n_windows, kMaxWindows));
    if (previous != nullptr &&
        (range <= *previous ||
         (range.text_hash == previous->text_hash &&
          range.first_window <= previous->first_window + previous->n_windows))) {
      return bad_input("{}: the ranges of text are not in order and apart from each other", what);
    }
    previous = &range;
  }
  return {};
}

Status check_inputs(const std::vector<StatisticsInput>& inputs, std::string_view what) {
  if (inputs.empty() || inputs.size() > kMaxInputs) {
    return bad_input("{}: {} inputs, expected 1 to {}", what, inputs.size(), kMaxInputs);
  }
  std::set<std::string_view> names;
  for (const StatisticsInput& input : inputs) {
    if (input.name.empty() || input.name.size() > kMaxNameBytes) {
      return bad_input("{}: an input's name has {} bytes, expected 1 to {}", what,
                       input.name.size(), kMaxNameBytes);
    }
    if (!names.insert(input.name).second) {
      return bad_input("{}: input {} is there twice", what, quote(input.name));
    }
    CRIA_RETURN_IF_ERROR(check_range(what, "the number of columns", input.n_cols, kMaxCols));
  }
  return {};
}

}  // namespace

std::string describe_difference(const ModelFingerprint& found, const ModelFingerprint& expected) {
  for (const Field& field : kModelFields) {
    if (found.*field.member == expected.*field.member) continue;
    return fmt::format("{} is {}, expected {}", field.name, found.*field.member,
                       expected.*field.member);
  }
  if (found.weight_hashes == expected.weight_hashes) return {};
  const auto [at, _] = std::ranges::mismatch(found.weight_hashes, expected.weight_hashes);
  const auto layer = at - found.weight_hashes.begin();
  if (layer < found.n_layers) {
    return fmt::format("the sizes agree, but the weights of layer {} differ", layer);
  }
  return "the sizes and layers agree, but the weights of the embedding or the head differ";
}

std::int64_t StatisticsHeader::n_windows() const {
  std::int64_t n = 0;
  for (const TextRange& range : texts) n += range.n_windows;
  return n;
}

std::uint64_t sums_bytes(std::int64_t n_cols) {
  return 2 * static_cast<std::uint64_t>(n_cols) * sizeof(FixedSum);
}

std::uint64_t triangle_bytes(std::int64_t n_cols) {
  return static_cast<std::uint64_t>(triangle_row(n_cols, n_cols)) * sizeof(std::int64_t);
}

StatisticsLayout layout_of(const StatisticsHeader& header) {
  StatisticsLayout layout;
  std::uint64_t at = 40 + 7 * 8 + header.model.weight_hashes.size() * 8 + header.texts.size() * 24;
  for (const StatisticsInput& input : header.inputs) at += 32 + input.name.size();
  layout.header_bytes = at;
  for (const StatisticsInput& input : header.inputs) {
    at = align_up(at, kVectorAlignment);
    layout.sums.push_back(at);
    at += sums_bytes(input.n_cols);
  }
  for (const StatisticsInput& input : header.inputs) {
    if (!header.has_hessian) break;
    at = align_up(at, kPageAlignment);
    layout.triangles.push_back(at);
    at += triangle_bytes(input.n_cols);
  }
  layout.file_bytes = at;
  return layout;
}

std::vector<std::byte> encode_statistics_header(const StatisticsHeader& header) {
  std::vector<std::byte> bytes;
  append(bytes, kStatisticsMagic);
  append(bytes, kStatisticsVersion);
  append(bytes, header.has_hessian ? kHasHessian : std::uint32_t{0});
  append(bytes, layout_of(header).file_bytes);
  append(bytes, header.window_tokens);
  append(bytes, static_cast<std::uint32_t>(header.inputs.size()));
  append(bytes, static_cast<std::uint32_t>(header.texts.size()));
  for (const Field& field : kModelFields) append(bytes, header.model.*field.member);
  for (const std::uint64_t hash : header.model.weight_hashes) append(bytes, hash);
  for (const TextRange& range : header.texts) {
    append(bytes, range.text_hash);
    append(bytes, range.first_window);
    append(bytes, range.n_windows);
  }
  for (const StatisticsInput& input : header.inputs) {
    append(bytes, input.n_cols);
    append(bytes, input.sums_checksum);
    append(bytes, input.hessian_checksum);
    append(bytes, static_cast<std::uint64_t>(input.name.size()));
    const auto name = std::as_bytes(std::span(input.name));
    bytes.insert(bytes.end(), name.begin(), name.end());
  }
  return bytes;
}

Status check_statistics_header(const StatisticsHeader& header, std::string_view what) {
  for (const Field& field : kModelFields) {
    CRIA_RETURN_IF_ERROR(check_range(what, field.name, header.model.*field.member, field.max));
  }
  if (std::ssize(header.model.weight_hashes) != header.model.n_layers + 1) {
    return bad_input("{}: {} hashes of weights for {} layers", what,
                     header.model.weight_hashes.size(), header.model.n_layers);
  }
  CRIA_RETURN_IF_ERROR(
      check_range(what, "the tokens of a window", header.window_tokens, kMaxWindowTokens));
  CRIA_RETURN_IF_ERROR(check_texts(header.texts, what));
  return check_inputs(header.inputs, what);
}

Result<StatisticsHeader> decode_statistics_head(std::span<const std::byte> bytes,
                                                std::string_view what) {
  ByteReader reader(bytes, what);
  CRIA_ASSIGN_OR_RETURN(const auto magic, reader.read<std::uint64_t>("the magic"));
  if (magic != kStatisticsMagic) {
    return bad_input("{}: no statistics of cria calibrate: it begins with {:#x}, expected {:#x}",
                     what, magic, kStatisticsMagic);
  }
  CRIA_ASSIGN_OR_RETURN(const auto version, reader.read<std::uint32_t>("the version"));
  if (version != kStatisticsVersion) {
    return unsupported("{}: statistics of version {}, this build reads version {}", what, version,
                       kStatisticsVersion);
  }
  StatisticsHeader header;
  CRIA_ASSIGN_OR_RETURN(const auto flags, reader.read<std::uint32_t>("the flags"));
  if ((flags & ~kHasHessian) != 0) {
    return unsupported("{}: unknown flags {:#x}", what, flags & ~kHasHessian);
  }
  header.has_hessian = (flags & kHasHessian) != 0;
  CRIA_ASSIGN_OR_RETURN(const auto file_bytes, reader.read<std::uint64_t>("the size"));
  CRIA_ASSIGN_OR_RETURN(header.window_tokens, reader.read<std::int64_t>("the tokens of a window"));
  CRIA_ASSIGN_OR_RETURN(const auto n_inputs, reader.read<std::uint32_t>("the number of inputs"));
  CRIA_ASSIGN_OR_RETURN(const auto n_texts, reader.read<std::uint32_t>("the number of texts"));
  CRIA_RETURN_IF_ERROR(read_model(reader, header.model));
  CRIA_RETURN_IF_ERROR(read_texts(reader, n_texts, header));
  CRIA_RETURN_IF_ERROR(read_inputs(reader, n_inputs, header));
  CRIA_RETURN_IF_ERROR(check_statistics_header(header, what));
  const std::uint64_t expected = layout_of(header).file_bytes;
  if (file_bytes == expected) return header;
  return bad_input("{}: it says that it has {} bytes, its inputs need {}", what, file_bytes,
                   expected);
}

Result<StatisticsHeader> decode_statistics_header(std::span<const std::byte> bytes,
                                                  std::string_view what) {
  CRIA_ASSIGN_OR_RETURN(StatisticsHeader header, decode_statistics_head(bytes, what));
  const std::uint64_t expected = layout_of(header).file_bytes;
  if (bytes.size() == expected) return header;
  return bad_input("{}: not a whole file of statistics: {} bytes, it needs {}", what, bytes.size(),
                   expected);
}

Result<std::vector<TextRange>> join_ranges(std::vector<TextRange> ranges) {
  std::ranges::sort(ranges);
  std::vector<TextRange> joined;
  for (const TextRange& range : ranges) {
    if (joined.empty() || joined.back().text_hash != range.text_hash) {
      joined.push_back(range);
      continue;
    }
    TextRange& last = joined.back();
    const std::int64_t end = last.first_window + last.n_windows;
    if (range.first_window < end) {
      return bad_input("window {} of the text {:016x} would be counted twice", range.first_window,
                       range.text_hash);
    }
    if (range.first_window == end) {
      last.n_windows += range.n_windows;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

void WordChecksum::add(std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    value_ = std::rotl(value_ ^ word, 29) * 0x9e3779b97f4a7c15;
  }
}

}  // namespace cria
