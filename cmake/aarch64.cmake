# Cross build for 64-bit Arm Linux with Debian's compiler; programs and tests run under qemu-user. setup.sh installs
# what it needs (cria_install_aarch64).
#
# Of PCRE2 and libedit only the run-time libraries are installed: their development packages of the foreign
# architecture would pull in some thirty more and upgrade unrelated packages of the host. Headers are those of the host's
# packages, which dpkg keeps at the same version; aarch64/*.pc tell CMake so.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_PREFIX_PATH /usr)
set(ENV{PKG_CONFIG_LIBDIR} ${CMAKE_CURRENT_LIST_DIR}/aarch64)
# All instructions that qemu knows: the processor it would choose itself depends on its version.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -cpu max)
