#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/aligned_buffer.h"
#include "base/huge_pages.h"

namespace cria {
namespace {

// Closes a file descriptor when the scope ends: a mapping outlives its descriptor.
struct DescriptorCloser {
  int fd;
  ~DescriptorCloser() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace

Result<MappedFile> MappedFile::open(const std::string& path) { return open(path, false); }

Result<MappedFile> MappedFile::open_for_edits(const std::string& path) { return open(path, true); }

Result<MappedFile> MappedFile::open(const std::string& path, bool editable) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return make_error(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo,
                      "{}: cannot open: {}", path, std::strerror(errno));
  }
  DescriptorCloser closer{fd};
  struct stat info = {};
  if (fstat(fd, &info) != 0) return io_error("{}: cannot stat: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return bad_input("{}: not a regular file", path);

  MappedFile file;
  file.path_ = path;
  file.size_bytes_ = static_cast<std::size_t>(info.st_size);
  if (file.size_bytes_ == 0) return file;
  const int protection = editable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* address = mmap(nullptr, file.size_bytes_, protection, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) {
    file.size_bytes_ = 0;
    return io_error("{}: cannot map {} bytes: {}", path, info.st_size, std::strerror(errno));
  }
  file.data_ = static_cast<const std::byte*>(address);
  if (editable) {  // no huge pages: what is written to would be copied one at a time
    file.descriptor_ = std::exchange(closer.fd, -1);
  } else {
    prefer_huge_pages({file.data_, file.size_bytes_});
  }
  return file;
}

std::span<std::byte> MappedFile::edit(std::size_t offset, std::size_t size) {
  assert(descriptor_ >= 0 && offset <= size_bytes_ && size <= size_bytes_ - offset);
  return {const_cast<std::byte*>(data_) + offset, size};
}

Status MappedFile::undo_edits(std::size_t offset, std::size_t size) {
  assert(descriptor_ >= 0 && offset <= size_bytes_ && size <= size_bytes_ - offset);
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t begin = offset / page * page;
  const std::size_t end = std::min(size_bytes_, align_up(offset + size, page));
  if (begin >= end) return {};
  void* address = mmap(const_cast<std::byte*>(data_) + begin, end - begin, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_FIXED, descriptor_, static_cast<off_t>(begin));
  if (address != MAP_FAILED) return {};
  return io_error("{}: cannot map {} bytes again: {}", path_, end - begin, std::strerror(errno));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(data_, other.data_);
  std::swap(size_bytes_, other.size_bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_bytes_);
  if (descriptor_ >= 0) close(descriptor_);
}

void MappedFile::forget(std::size_t offset, std::size_t size) const {
  const std::size_t begin = align_up(offset, kPageAlignment);
  const std::size_t end = (offset + size) & ~(kPageAlignment - 1);
  if (data_ == nullptr || end <= begin || end > size_bytes_) return;
  madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

}  // namespace cria
