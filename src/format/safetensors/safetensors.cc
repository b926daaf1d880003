#include "format/safetensors/safetensors.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/byte_reader.h"
#include "base/json/json.h"
#include "base/quote.h"

namespace cria {
namespace {

using Json = nlohmann::json;

// The reference implementation allows 100 MB; a Llama has some thirty kilobytes, and the parsed
// form takes many times the text.
constexpr std::uint64_t kMaxHeaderBytes = 16 << 20;
constexpr std::size_t kMaxDims = 8;
constexpr const char* kMetadataKey = "__metadata__";

struct DtypeSpec {
  SafetensorsDtype dtype;
  const char* name;
  int element_bytes;
  std::optional<StorageType> storage;
};
constexpr DtypeSpec kDtypes[] = {{SafetensorsDtype::kF32, "F32", 4, StorageType::kF32},
                                 {SafetensorsDtype::kF16, "F16", 2, StorageType::kF16},
                                 {SafetensorsDtype::kBF16, "BF16", 2, StorageType::kBF16},
                                 {SafetensorsDtype::kI32, "I32", 4, std::nullopt},
                                 {SafetensorsDtype::kI16, "I16", 2, std::nullopt}};

const DtypeSpec& dtype_spec(SafetensorsDtype dtype) {
  return kDtypes[static_cast<std::size_t>(dtype)];
}

// One tensor of the header, with what is needed to check it and to complain about it.
class TensorReader {
 public:
  TensorReader(std::string_view what, const std::string& name, const Json& info)
      : what_(what), info_(info) {
    tensor_.name = name;
  }

  // `data` is what follows the header, which ends at byte `data_start` of the file.
  Result<SafetensorsTensor> read(std::span<const std::byte> data, std::uint64_t data_start) {
    if (!info_.is_object()) return malformed("is not an object");
    CRIA_RETURN_IF_ERROR(read_dtype());
    CRIA_ASSIGN_OR_RETURN(const std::uint64_t size, read_shape());
    CRIA_RETURN_IF_ERROR(read_range(data, data_start, size));
    return std::move(tensor_);
  }

 private:
  template <typename... Args>
  Status malformed(fmt::format_string<Args...> format, Args&&... args) {
    return bad_input("{}: tensor {} {}", what_, quote(tensor_.name),
                     fmt::format(format, std::forward<Args>(args)...));
  }

  Status read_dtype() {
    const Json* dtype = json_member(info_, "dtype");
    if (dtype == nullptr || !dtype->is_string()) return malformed("has no dtype");
    const auto& name = dtype->get_ref<const std::string&>();
    for (const DtypeSpec& known : kDtypes) {
      if (name == known.name) {
        tensor_.dtype = known.dtype;
        return {};
      }
    }
    return unsupported("{}: tensor {} has dtype {}; supported are F32, F16, BF16, I32, I16", what_,
                       quote(tensor_.name), quote(name));
  }

  // Returns the bytes of the shape.
  Result<std::uint64_t> read_shape() {
    const Json* shape = json_member(info_, "shape");
    if (shape == nullptr || !shape->is_array()) return malformed("has no shape");
    if (shape->size() > kMaxDims) {
      return malformed("has {} dimensions, expected at most {}", shape->size(), kMaxDims);
    }
    auto size = std::int64_t{dtype_spec(tensor_.dtype).element_bytes};
    for (const Json& dim : *shape) {
      if (!dim.is_number_unsigned() ||
          __builtin_mul_overflow(size, dim.get<std::uint64_t>(), &size)) {
        return malformed("has dimension {}: not a count, or too many elements", quote(dim.dump()));
      }
      tensor_.shape.push_back(static_cast<std::int64_t>(dim.get<std::uint64_t>()));
    }
    return static_cast<std::uint64_t>(size);
  }

  Status read_range(std::span<const std::byte> data, std::uint64_t data_start, std::uint64_t size) {
    const Json* offsets = json_member(info_, "data_offsets");
    if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2 ||
        !(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned()) {
      return malformed("has no data_offsets of two counts");
    }
    const auto begin = (*offsets)[0].get<std::uint64_t>();
    const auto end = (*offsets)[1].get<std::uint64_t>();
    if (begin > end || end > data.size()) {
      return malformed("has data_offsets [{}, {}], the file has {} bytes of data", begin, end,
                       data.size());
    }
    if (end - begin != size) {
      return malformed("has {} bytes, its shape [{}] in {} needs {}", end - begin,
                       fmt::join(tensor_.shape, ", "), dtype_spec(tensor_.dtype).name, size);
    }
    tensor_.offset = data_start + begin;
    tensor_.bytes = data.subspan(begin, size);
    return {};
  }

  std::string_view what_;
  const Json& info_;
  SafetensorsTensor tensor_;
};

Result<Json> read_header(ByteReader& reader) {
  CRIA_ASSIGN_OR_RETURN(const auto size, reader.read<std::uint64_t>("the header's length"));
  if (size > kMaxHeaderBytes) {
    return bad_input("{}: not a safetensors file: the header's length is {}, expected at most {}",
                     reader.what(), size, kMaxHeaderBytes);
  }
  CRIA_ASSIGN_OR_RETURN(const auto text, reader.take_text(size, "the header"));
  CRIA_ASSIGN_OR_RETURN(Json header, parse_strict_json(text, reader.what()));
  if (!header.is_object()) return bad_input("{}: the header is not an object", reader.what());
  return header;
}

Result<std::map<std::string, std::string>> read_metadata(const Json& metadata,
                                                         std::string_view what) {
  std::map<std::string, std::string> entries;
  if (!metadata.is_object()) return bad_input("{}: {} is not an object", what, kMetadataKey);
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      return bad_input("{}: {} of {} is not a text", what, quote(key), kMetadataKey);
    }
    entries.emplace(key, value.get<std::string>());
  }
  return entries;
}

}  // namespace

const char* safetensors_dtype_name(SafetensorsDtype dtype) { return dtype_spec(dtype).name; }

std::optional<StorageType> float_storage_type(SafetensorsDtype dtype) {
  return dtype_spec(dtype).storage;
}

Result<SafetensorsFile> SafetensorsFile::parse(std::span<const std::byte> bytes,
                                               std::string_view what) {
  ByteReader reader(bytes, what);
  CRIA_ASSIGN_OR_RETURN(const Json header, read_header(reader));
  const std::uint64_t data_start = reader.offset();
  SafetensorsFile file;
  for (const auto& [name, info] : header.items()) {
    if (name == kMetadataKey) {
      CRIA_ASSIGN_OR_RETURN(file.metadata_, read_metadata(info, what));
      continue;
    }
    CRIA_ASSIGN_OR_RETURN(
        SafetensorsTensor tensor,
        TensorReader(what, name, info).read(bytes.subspan(data_start), data_start));
    file.tensors_.push_back(std::move(tensor));
  }
  // The parsed object is a sorted map, which find_tensor() relies on.
  assert(std::ranges::is_sorted(file.tensors_, {}, &SafetensorsTensor::name));
  return file;
}

bool SafetensorsFile::recognizes(std::span<const std::byte> bytes) {
  std::uint64_t header_bytes = 0;
  if (bytes.size() <= sizeof(header_bytes)) return false;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  return header_bytes <= std::min<std::uint64_t>(kMaxHeaderBytes, bytes.size() - 8) &&
         header_bytes >= 2 && bytes[8] == std::byte{'{'};
}

const SafetensorsTensor* SafetensorsFile::find_tensor(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors_, name, {}, &SafetensorsTensor::name);
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

}  // namespace cria
