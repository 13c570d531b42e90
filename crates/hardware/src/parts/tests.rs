//! What drivers call their devices finds the right part; the table is complete and believable.

use std::collections::HashSet;

use super::*;

#[test]
fn every_row_is_whole_and_sane() {
    let parts = all();
    assert!(parts.len() >= 200, "only {} parts", parts.len());
    let mut names = HashSet::new();
    for part in parts {
        assert!(names.insert(part.name), "{} is there twice", part.name);
        assert!(
            ["vendor-datasheet", "vendor-spec", "computed", "assumed-memory", "assumed"].contains(&part.source),
            "{}: {:?} is no source",
            part.name,
            part.source
        );
        assert!((20e9..=9e12).contains(&part.bandwidth), "{}: {} bytes/s", part.name, part.bandwidth);
        assert!((0.15e12..=200e12).contains(&part.fp32), "{}: {} FLOP/s", part.name, part.fp32);
        assert!(part.fp16 >= part.fp32, "{}: FP16 slower than FP32", part.name);
        assert!(part.unified || !part.memory.is_empty(), "{} has no memory", part.name);
        assert_eq!(by_name(part.name), Some(part), "{} is not found by its own name", part.name);
    }
}

/// Driver strings, names as people write them, and the part they mean.
#[test]
fn names_find_their_part() {
    for (name, expected) in [
        // NVIDIA, as NVML says it
        ("NVIDIA H100 80GB HBM3", "H100 SXM5 80GB"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("H100", "H100 SXM5 80GB"),
        ("NVIDIA H200", "H200 SXM"),
        ("NVIDIA H200 NVL", "H200 NVL"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA H800", "H800 SXM"),
        ("NVIDIA GH200 480GB", "GH200 96GB"),
        ("NVIDIA GH200 144G HBM3e", "GH200 144GB"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA GB200", "GB200"),
        ("NVIDIA GB300", "GB300"),
        ("NVIDIA GB10", "GB10"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB SXM4"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB SXM4"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "A100 40GB SXM4"),
        ("NVIDIA A100 80GB PCIe", "A100 80GB PCIe"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB PCIe"),
        ("A100-SXM4-40GB", "A100 40GB SXM4"),
        ("NVIDIA A800-SXM4-80GB", "A800 80GB SXM4"),
        ("NVIDIA A30", "A30"),
        ("NVIDIA A40", "A40"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA A10", "A10"),
        ("NVIDIA A2", "A2"),
        ("NVIDIA A16", "A16"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L20", "L20"),
        ("Tesla T4", "Tesla T4"),
        ("Tesla P40", "Tesla P40"),
        ("Tesla P100-PCIE-16GB", "Tesla P100 PCIe 16GB"),
        ("Tesla V100-SXM2-32GB", "Tesla V100 SXM2 32GB"),
        ("Tesla V100-PCIE-16GB", "Tesla V100 PCIe 16GB"),
        ("Tesla V100S-PCIE-32GB", "Tesla V100S PCIe 32GB"),
        ("Tesla M40", "Tesla M40"),
        ("NVIDIA TITAN V", "TITAN V"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("NVIDIA TITAN Xp", "TITAN Xp"),
        ("NVIDIA GeForce RTX 5090", "GeForce RTX 5090"),
        ("NVIDIA GeForce RTX 5090 D", "GeForce RTX 5090 D"),
        ("NVIDIA GeForce RTX 5090 Laptop GPU", "GeForce RTX 5090 Laptop"),
        ("NVIDIA GeForce RTX 5060", "GeForce RTX 5060"),
        ("NVIDIA GeForce RTX 5060 Ti", "GeForce RTX 5060 Ti"),
        ("NVIDIA GeForce RTX 5050", "GeForce RTX 5050"),
        ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", "GeForce RTX 5070 Ti Laptop"),
        ("NVIDIA GeForce RTX 4090", "GeForce RTX 4090"),
        ("RTX4090", "GeForce RTX 4090"),
        ("rtx 4070ti super", "GeForce RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4070 Ti", "GeForce RTX 4070 Ti"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "GeForce RTX 4060 Laptop"),
        ("AD107M [GeForce RTX 4060 Max-Q / Mobile]", "GeForce RTX 4060 Laptop"),
        ("NVIDIA GeForce RTX 3050 Ti Laptop GPU", "GeForce RTX 3050 Ti Laptop"),
        ("NVIDIA GeForce RTX 3050 6GB Laptop GPU", "GeForce RTX 3050 6GB Laptop"),
        ("NVIDIA GeForce RTX 3060", "GeForce RTX 3060"),
        ("NVIDIA GeForce RTX 3090 Ti", "GeForce RTX 3090 Ti"),
        ("NVIDIA GeForce RTX 2080 with Max-Q Design", "GeForce RTX 2080 Max-Q"),
        ("NVIDIA GeForce RTX 2070 SUPER", "GeForce RTX 2070 SUPER"),
        ("NVIDIA GeForce GTX 1650 with Max-Q Design", "GeForce GTX 1650 Max-Q"),
        ("NVIDIA GeForce GTX 1650 SUPER", "GeForce GTX 1650 SUPER"),
        ("NVIDIA GeForce GTX 1080 Ti", "GeForce GTX 1080 Ti"),
        ("GeForce GTX 1060 6GB", "GeForce GTX 1060 6GB"),
        ("GeForce GTX 1060 3GB", "GeForce GTX 1060 3GB"),
        ("NVIDIA GeForce GTX 1050 Ti", "GeForce GTX 1050 Ti"),
        ("NVIDIA RTX A1000", "RTX A1000"),
        ("NVIDIA RTX A1000 6GB Laptop GPU", "RTX A1000 6GB Laptop"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada Generation"),
        ("NVIDIA RTX 5880 Ada Generation", "RTX 5880 Ada Generation"),
        ("NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 SFF Ada Generation"),
        ("NVIDIA RTX 2000 Ada Generation Laptop GPU", "RTX 2000 Ada Generation Laptop"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell Workstation Edition"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000 Blackwell Server Edition"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Blackwell Max-Q Workstation Edition"),
        ("NVIDIA RTX PRO 4000 Blackwell SFF Edition", "RTX PRO 4000 Blackwell SFF Edition"),
        ("NVIDIA RTX PRO 4000 Blackwell", "RTX PRO 4000 Blackwell"),
        ("Quadro RTX 4000", "Quadro RTX 4000"),
        ("Quadro RTX 8000", "Quadro RTX 8000"),
        ("Quadro P2000", "Quadro P2000"),
        ("NVIDIA T400 4GB", "T400 4GB"),
        ("NVIDIA T1000 8GB", "T1000 8GB"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "Jetson AGX Orin 64GB"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "Jetson Orin Nano Super 8GB"),
        ("NVIDIA Thor", "Jetson AGX Thor"),
        // AMD: ROCm, Vulkan, lspci
        ("AMD Radeon RX 7900 XTX", "Radeon RX 7900 XTX"),
        ("AMD Radeon RX 7900 XTX (RADV NAVI31)", "Radeon RX 7900 XTX"),
        ("AMD Radeon RX 7900 XT", "Radeon RX 7900 XT"),
        ("AMD Radeon RX 9070", "Radeon RX 9070"),
        ("AMD Radeon RX 9070 XT", "Radeon RX 9070 XT"),
        ("Radeon RX 9060 XT", "Radeon RX 9060 XT"),
        ("AMD Radeon AI PRO R9700", "Radeon AI PRO R9700"),
        ("AMD Radeon PRO W7900", "Radeon PRO W7900"),
        ("AMD Radeon RX 6800M", "Radeon RX 6800M"),
        ("AMD Radeon RX 6700 XT", "Radeon RX 6700 XT"),
        ("AMD Radeon RX 580 Series", "Radeon RX 580"),
        ("AMD Radeon VII", "Radeon VII"),
        ("AMD Instinct MI300X OAM", "Instinct MI300X"),
        ("AMD Instinct MI325X", "Instinct MI325X"),
        ("AMD Instinct MI355X", "Instinct MI355X"),
        ("AMD Instinct MI210", "Instinct MI210"),
        ("Radeon 8060S Graphics (RADV GFX1151)", "Radeon 8060S"),
        ("AMD Radeon 780M Graphics (RADV PHOENIX)", "Radeon 780M"),
        ("AMD Radeon Graphics (RADV REMBRANDT)", "Radeon 680M"),
        ("AMD Radeon 890M Graphics", "Radeon 890M"),
        ("Radeon 840M / 860M Graphics", "Radeon 840M"),
        // Intel
        ("Intel(R) Arc(TM) A770 Graphics", "Arc A770"),
        ("Intel(R) Arc(TM) B580 Graphics", "Arc B580"),
        ("Intel(R) Arc(TM) Pro B60 Graphics", "Arc Pro B60"),
        ("Intel(R) Data Center GPU Max 1550", "Data Center GPU Max 1550"),
        ("Intel(R) Data Center GPU Flex 170", "Data Center GPU Flex 170"),
        ("Intel(R) Arc(TM) B390 GPU", "Arc B390 (Panther Lake)"),
        ("Intel(R) Iris(R) Xe Graphics", "Iris Xe Graphics (Alder Lake-P)"),
        ("Intel Raptor Lake-P [Iris Xe Graphics] (integrated)", "Iris Xe Graphics (Raptor Lake-P)"),
        ("Intel Arc Graphics 130V/140V (integrated)", "Arc 130V (Lunar Lake)"),
        ("Intel 3rd Gen Core processor Graphics Controller (integrated)", "HD Graphics 2500/4000 (Ivy Bridge)"),
        ("Intel CoffeeLake-S GT2 [UHD Graphics 630] (integrated)", "UHD Graphics 630"),
        ("Mesa Intel(R) UHD Graphics 620 (KBL GT2)", "UHD Graphics 620"),
        ("Intel(R) UHD Graphics 770", "UHD Graphics 770"),
        // Apple, Huawei
        ("Apple M1", "Apple M1"),
        ("Apple M2 Max", "Apple M2 Max"),
        ("Apple M4 Pro", "Apple M4 Pro"),
        ("Apple M3 Max (30-core GPU)", "Apple M3 Max (30-core GPU)"),
        ("Apple M5 Ultra", "Apple M5 Ultra"),
        ("Ascend 910B4", "Ascend 910B4"),
        ("Ascend310P3", "Ascend 310P"),
    ] {
        assert_eq!(by_name(name).map(|part| part.name), Some(expected), "{name}");
    }
}

#[test]
fn names_that_say_too_little_find_nothing() {
    for name in [
        "",
        "AMD Radeon Graphics",
        "AMD GPU",
        "AMD A10-7850K Radeon R7",
        "NVIDIA Graphics Device",
        "Intel(R) Graphics",
        "llvmpipe (LLVM 17.0.6, 256 bits)",
        "Microsoft Basic Render Driver",
        // A laptop part we do not know must not get the desktop part's figures.
        "NVIDIA GeForce RTX 4070 SUPER Laptop GPU",
        "AMD Radeon RX 6900M",
    ] {
        assert_eq!(by_name(name).map(|part| part.name), None, "{name}");
    }
}

#[test]
fn memory_tells_parts_of_one_name_apart() {
    for (name, gib, expected) in [
        ("NVIDIA GeForce RTX 3080", 10.0, "GeForce RTX 3080"),
        ("NVIDIA GeForce RTX 3080", 12.0, "GeForce RTX 3080 12GB"),
        ("NVIDIA GeForce RTX 3080 Ti", 12.0, "GeForce RTX 3080 Ti"),
        ("NVIDIA GeForce RTX 2060", 12.0, "GeForce RTX 2060 12GB"),
        ("NVIDIA GeForce RTX 3050", 6.0, "GeForce RTX 3050 6GB"),
        ("Radeon RX 7900 XT/7900 XTX", 19.98, "Radeon RX 7900 XT"),
        ("Radeon RX 7900 XT/7900 XTX", 23.98, "Radeon RX 7900 XTX"),
        ("Apple M3 Max", 36.0, "Apple M3 Max (30-core GPU)"),
        ("Apple M4 Max", 128.0, "Apple M4 Max (40-core GPU)"),
        ("A100", 40.0, "A100 40GB SXM4"),
        ("A100", 80.0, "A100 80GB SXM4"),
        ("NVIDIA H100 80GB HBM3", 79.65, "H100 SXM5 80GB"),
        // A size nobody sells decides nothing.
        ("NVIDIA GeForce RTX 4090", 3.0, "GeForce RTX 4090"),
    ] {
        let memory = ByteCount::from_mib_f64(gib * 1024.0);
        assert_eq!(by_name_and_memory(name, memory).map(|part| part.name), Some(expected), "{name} {gib} GiB");
    }
}

#[test]
fn pci_ids_find_their_part() {
    for (vendor, device, gib, expected) in [
        (0x10de, 0x2684, None, "GeForce RTX 4090"),
        (0x10de, 0x28a0, None, "GeForce RTX 4060 Laptop"),
        (0x10de, 0x1c20, None, "GeForce GTX 1060 Laptop"),
        (0x10de, 0x2330, None, "H100 SXM5 80GB"),
        (0x1002, 0x744c, Some(24), "Radeon RX 7900 XTX"),
        (0x1002, 0x744c, Some(20), "Radeon RX 7900 XT"),
        (0x1002, 0x1586, None, "Radeon 8060S"),
        (0x8086, 0x56a0, None, "Arc A770"),
    ] {
        let found = by_pci(vendor, device, gib.map(ByteCount::gib));
        assert_eq!(found.map(|part| part.name), Some(expected), "{vendor:04x}:{device:04x}");
    }
    assert_eq!(by_pci(0x1234, 0x1111, None), None);
}
