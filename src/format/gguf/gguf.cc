#include "format/gguf/gguf.h"

#include <bit>
#include <cstring>

#include "base/aligned_buffer.h"
#include "base/byte_reader.h"
#include "base/quote.h"
#include "format/gguf/gguf_types.h"

namespace cria {
namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint32_t kMaxDims = 4;
constexpr std::uint64_t kMaxAlignment = 65536;
constexpr std::uint64_t kMaxNameBytes = 65535;  // the limit of the format for keys

// The smallest possible encodings, by which counts are judged before anything is reserved.
constexpr std::uint64_t kMinEntryBytes = 8 + 4 + 1;               // key length, type, a byte
constexpr std::uint64_t kMinTensorInfoBytes = 8 + 4 + 8 + 4 + 8;  // one dimension
constexpr std::uint64_t kMinTextBytes = 8;                        // an empty text

// Bytes of one element; 0 for text and array, whose size lies in the file.
std::uint64_t element_bytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool:
      return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16:
      return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32:
      return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64:
      return 8;
    case GgufValueType::kText:
    case GgufValueType::kArray:
      return 0;
  }
  return 0;
}

std::string dims_to_string(const std::vector<std::int64_t>& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

}  // namespace

// Reads a file front to back into `file_`.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, std::string_view what)
      : bytes_(bytes), reader_(bytes, what) {
    file_.what_ = what;
  }

  Result<GgufFile> run() {
    CRIA_RETURN_IF_ERROR(read_header());
    for (std::uint64_t i = 0; i < n_metadata_; ++i) CRIA_RETURN_IF_ERROR(read_entry());
    CRIA_RETURN_IF_ERROR(read_alignment());
    for (std::uint64_t i = 0; i < n_tensors_; ++i) CRIA_RETURN_IF_ERROR(read_tensor_info());
    CRIA_RETURN_IF_ERROR(place_tensors());
    return std::move(file_);
  }

 private:
  Status read_header() {
    CRIA_ASSIGN_OR_RETURN(const auto magic, reader_.read<std::uint32_t>("the magic"));
    if (magic != kMagic) return bad_input("{}: not a GGUF file", reader_.what());
    CRIA_ASSIGN_OR_RETURN(file_.version_, reader_.read<std::uint32_t>("the version"));
    if (file_.version_ != 0 && (file_.version_ & 0xffff) == 0) {
      return unsupported("{}: a big-endian GGUF file; only little-endian ones are read",
                         reader_.what());
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      return unsupported("{}: GGUF version {}; versions 2 and 3 are read", reader_.what(),
                         file_.version_);
    }
    CRIA_ASSIGN_OR_RETURN(n_tensors_, reader_.read<std::uint64_t>("the number of tensors"));
    CRIA_ASSIGN_OR_RETURN(n_metadata_,
                          reader_.read<std::uint64_t>("the number of metadata entries"));
    CRIA_RETURN_IF_ERROR(check_count("tensors", n_tensors_, kMinTensorInfoBytes));
    CRIA_RETURN_IF_ERROR(check_count("metadata entries", n_metadata_, kMinEntryBytes));
    return {};
  }

  Status check_count(std::string_view of_what, std::uint64_t count, std::uint64_t min_bytes) {
    const std::uint64_t room = reader_.remaining() / min_bytes;
    if (count <= room) return {};
    return bad_input("{}: {} {} at byte {}, the file has room for {} at most", reader_.what(),
                     count, of_what, reader_.offset(), room);
  }

  Result<std::string_view> read_name(std::string_view field) {
    CRIA_ASSIGN_OR_RETURN(const auto size, reader_.read<std::uint64_t>(field));
    if (size > kMaxNameBytes) {
      return bad_input("{}: {} at byte {} is {} bytes long, expected at most {}", reader_.what(),
                       field, reader_.offset(), size, kMaxNameBytes);
    }
    return reader_.take_text(size, field);
  }

  Result<GgufValueType> read_value_type(std::string_view key) {
    CRIA_ASSIGN_OR_RETURN(const auto number, reader_.read<std::uint32_t>("a value type"));
    if (number > static_cast<std::uint32_t>(GgufValueType::kF64)) {
      return bad_input("{}: metadata {} has value type {}, expected 0 to 12", reader_.what(),
                       quote(key), number);
    }
    return static_cast<GgufValueType>(number);
  }

  Status read_entry() {
    CRIA_ASSIGN_OR_RETURN(const auto key, read_name("a metadata key"));
    GgufValue value;
    CRIA_ASSIGN_OR_RETURN(value.type, read_value_type(key));
    value.element_type = value.type;
    if (value.type == GgufValueType::kArray) {
      CRIA_ASSIGN_OR_RETURN(value.element_type, read_value_type(key));
      if (value.element_type == GgufValueType::kArray) {
        return unsupported("{}: metadata {} is an array of arrays, which no Llama needs",
                           reader_.what(), quote(key));
      }
      CRIA_ASSIGN_OR_RETURN(value.count, reader_.read<std::uint64_t>("an array's length"));
    }
    CRIA_RETURN_IF_ERROR(
        take_elements(key, value).with_context(fmt::format("metadata {}", quote(key))));
    if (!file_.metadata_index_.emplace(key, file_.metadata_.size()).second) {
      return bad_input("{}: metadata {} appears twice", reader_.what(), quote(key));
    }
    file_.metadata_.push_back({key, value});
    return {};
  }

  // Finds the end of value.count elements, and points value.bytes at them.
  Status take_elements(std::string_view key, GgufValue& value) {
    if (value.element_type != GgufValueType::kText) {
      const std::uint64_t size = element_bytes(value.element_type);
      CRIA_RETURN_IF_ERROR(check_count("elements", value.count, size));
      CRIA_ASSIGN_OR_RETURN(value.bytes, reader_.take(value.count * size, key));
      return {};
    }
    CRIA_RETURN_IF_ERROR(check_count("texts", value.count, kMinTextBytes));
    const std::size_t begin = reader_.offset();
    for (std::uint64_t i = 0; i < value.count; ++i) {
      CRIA_ASSIGN_OR_RETURN(const auto size, reader_.read<std::uint64_t>("a text's length"));
      CRIA_RETURN_IF_ERROR(reader_.take(size, "a text").status());
    }
    value.bytes = bytes_.subspan(begin, reader_.offset() - begin);
    return {};
  }

  Status read_alignment() {
    CRIA_ASSIGN_OR_RETURN(const auto alignment, file_.integer("general.alignment", 32));
    if (alignment < 1 || !std::has_single_bit(static_cast<std::uint64_t>(alignment)) ||
        static_cast<std::uint64_t>(alignment) > kMaxAlignment) {
      return bad_input("{}: general.alignment is {}, expected a power of two up to {}",
                       reader_.what(), alignment, kMaxAlignment);
    }
    file_.alignment_ = static_cast<std::uint64_t>(alignment);
    return {};
  }

  Status read_tensor_info() {
    GgufTensor tensor;
    CRIA_ASSIGN_OR_RETURN(tensor.name, read_name("a tensor's name"));
    CRIA_RETURN_IF_ERROR(read_dims(tensor));
    CRIA_ASSIGN_OR_RETURN(const auto type_number, reader_.read<std::uint32_t>("a tensor type"));
    const auto type = storage_type_from_gguf(type_number);
    if (!type) {
      return unsupported("{}: tensor {} has type {} ({}); supported are {}", reader_.what(),
                         quote(tensor.name), gguf_unsupported_type_name(type_number), type_number,
                         supported_gguf_types());
    }
    tensor.type = *type;
    const StorageSpec& spec = storage_spec(*type);
    if (tensor.dims[0] % spec.block_elements != 0) {
      return bad_input("{}: tensor {} has rows of {} elements, {} needs a multiple of {}",
                       reader_.what(), quote(tensor.name), tensor.dims[0], spec.name,
                       spec.block_elements);
    }
    CRIA_ASSIGN_OR_RETURN(tensor.offset, reader_.read<std::uint64_t>("a tensor's offset"));
    if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second) {
      return bad_input("{}: tensor {} appears twice", reader_.what(), quote(tensor.name));
    }
    file_.tensors_.push_back(std::move(tensor));
    return {};
  }

  // Dimensions whose product fits, so that later sizes cannot overflow.
  Status read_dims(GgufTensor& tensor) {
    CRIA_ASSIGN_OR_RETURN(const auto n_dims, reader_.read<std::uint32_t>("a tensor's dimensions"));
    if (n_dims < 1 || n_dims > kMaxDims) {
      return bad_input("{}: tensor {} has {} dimensions, expected 1 to {}", reader_.what(),
                       quote(tensor.name), n_dims, kMaxDims);
    }
    std::int64_t product = 1;
    for (std::uint32_t i = 0; i < n_dims; ++i) {
      CRIA_ASSIGN_OR_RETURN(const auto dim, reader_.read<std::uint64_t>("a dimension"));
      if (dim < 1 || __builtin_mul_overflow(product, dim, &product)) {
        return bad_input("{}: dimension {} of tensor {} is {}: too few or too many elements",
                         reader_.what(), i, quote(tensor.name), dim);
      }
      tensor.dims.push_back(static_cast<std::int64_t>(dim));
    }
    return {};
  }

  // Offsets become absolute, and every tensor gets its bytes.
  Status place_tensors() {
    const std::uint64_t data_start = align_up(reader_.offset(), file_.alignment_);
    for (GgufTensor& tensor : file_.tensors_) {
      if (tensor.offset % file_.alignment_ != 0) {
        return bad_input("{}: tensor {} at offset {}, expected a multiple of {}", reader_.what(),
                         quote(tensor.name), tensor.offset, file_.alignment_);
      }
      const StorageSpec& spec = storage_spec(tensor.type);
      std::uint64_t n_blocks = static_cast<std::uint64_t>(tensor.dims[0] / spec.block_elements);
      for (std::size_t i = 1; i < tensor.dims.size(); ++i) n_blocks *= tensor.dims[i];
      std::uint64_t size = 0;
      std::uint64_t end = 0;
      if (__builtin_mul_overflow(n_blocks, spec.block_bytes, &size) ||
          __builtin_add_overflow(tensor.offset, data_start, &tensor.offset) ||
          __builtin_add_overflow(tensor.offset, size, &end) || end > bytes_.size()) {
        return bad_input(
            "{}: tensor {} ({} {}, {} bytes at byte {}) ends after the file's {} bytes",
            reader_.what(), quote(tensor.name), spec.name, dims_to_string(tensor.dims), size,
            tensor.offset, bytes_.size());
      }
      tensor.bytes = bytes_.subspan(tensor.offset, size);
    }
    return {};
  }

  std::span<const std::byte> bytes_;
  ByteReader reader_;
  GgufFile file_;
  std::uint64_t n_tensors_ = 0;
  std::uint64_t n_metadata_ = 0;
};

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string_view what) {
  return GgufParser(bytes, what).run();
}

bool GgufFile::recognizes(std::span<const std::byte> bytes) {
  return bytes.size() >= sizeof(kMagic) && std::memcmp(bytes.data(), &kMagic, sizeof(kMagic)) == 0;
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = metadata_index_.find(key);
  return found == metadata_index_.end() ? nullptr : &metadata_[found->second].value;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

namespace {

// The value of `key` through `get`, or what is wrong with it.
template <typename T, typename Get>
Result<T> typed_value(const GgufFile& file, std::string_view key, std::optional<T> fallback,
                      const char* expected, Get get) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) {
    if (fallback) return *fallback;
    return bad_input("{}: metadata {} is missing", file.what(), quote(key));
  }
  const std::optional<T> found = get(*value);
  if (found) return *found;
  return bad_input("{}: metadata {} is {} ({}), expected {}", file.what(), quote(key),
                   value->to_string(), gguf_value_type_name(value->type), expected);
}

}  // namespace

Result<std::int64_t> GgufFile::integer(std::string_view key,
                                       std::optional<std::int64_t> fallback) const {
  return typed_value(*this, key, fallback, "an integer", [](auto& v) { return v.integer(); });
}

Result<double> GgufFile::number(std::string_view key, std::optional<double> fallback) const {
  return typed_value(*this, key, fallback, "a number", [](auto& v) { return v.number(); });
}

Result<bool> GgufFile::boolean(std::string_view key, std::optional<bool> fallback) const {
  return typed_value(*this, key, fallback, "a bool", [](auto& v) { return v.boolean(); });
}

Result<std::string_view> GgufFile::text(std::string_view key,
                                        std::optional<std::string_view> fallback) const {
  return typed_value(*this, key, fallback, "a text", [](auto& v) { return v.text(); });
}

}  // namespace cria
