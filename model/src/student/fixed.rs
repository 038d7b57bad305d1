//! Logarithm, power and tanh in fixed point: `kmod/fixed.c` to the bit.

/// log2(1 + i / 64), Q16.
const LOG2: [u32; 65] = [
    0, 1466, 2909, 4331, 5732, 7112, 8473, 9814, 11136, 12440, 13727, 14996, 16248, 17484, 18704,
    19909, 21098, 22272, 23433, 24579, 25711, 26830, 27936, 29029, 30109, 31178, 32234, 33279,
    34312, 35334, 36346, 37346, 38336, 39316, 40286, 41246, 42196, 43137, 44068, 44990, 45904,
    46809, 47705, 48593, 49472, 50344, 51207, 52063, 52911, 53751, 54584, 55410, 56229, 57040,
    57845, 58643, 59434, 60219, 60997, 61769, 62534, 63294, 64047, 64794, 65536,
];

/// 2^(i / 64), Q30.
const EXP2: [u32; 65] = [
    1073741824, 1085434106, 1097253708, 1109202018, 1121280436, 1133490379, 1145833280, 1158310587,
    1170923762, 1183674286, 1196563654, 1209593378, 1222764986, 1236080024, 1249540052, 1263146652,
    1276901417, 1290805962, 1304861917, 1319070932, 1333434672, 1347954824, 1362633090, 1377471191,
    1392470869, 1407633882, 1422962010, 1438457051, 1454120821, 1469955159, 1485961921, 1502142985,
    1518500250, 1535035634, 1551751076, 1568648537, 1585730000, 1602997467, 1620452965, 1638098541,
    1655936265, 1673968228, 1692196547, 1710623359, 1729250827, 1748081133, 1767116489, 1786359126,
    1805811301, 1825475297, 1845353420, 1865448001, 1885761398, 1906295993, 1927054196, 1948038440,
    1969251188, 1990694927, 2012372174, 2034285470, 2056437387, 2078830522, 2101467502, 2124350982,
    2147483648,
];

/// tanh(i / 16), Q12.
const TANH: [u16; 65] = [
    0, 256, 509, 759, 1003, 1240, 1468, 1686, 1893, 2088, 2272, 2443, 2602, 2748, 2883, 3007, 3119,
    3222, 3315, 3399, 3475, 3543, 3604, 3659, 3707, 3751, 3790, 3825, 3856, 3883, 3908, 3929, 3949,
    3966, 3981, 3994, 4006, 4016, 4026, 4034, 4041, 4048, 4053, 4058, 4063, 4067, 4070, 4073, 4076,
    4078, 4080, 4082, 4084, 4085, 4086, 4088, 4089, 4089, 4090, 4091, 4091, 4092, 4092, 4093, 4093,
];

/// Maximum absolute argument of [`exp2`], beyond which it is clamped: 14, Q16.
pub const EXP2_MAX: i32 = 14 << 16;

/// |tanh| is constant from here: 4, Q12.
const TANH_END: u32 = 4 << 12;

/// log2 x in Q16, with an error below 7e-5; x > 0.
pub fn log2(x: u64) -> i32 {
    let log = 63 - x.leading_zeros();
    let mantissa = x << (63 - log);
    let i = ((mantissa >> 57) & 63) as usize;
    let rest = (mantissa >> 41) as u32 & 0xffff;
    let step = LOG2[i + 1] - LOG2[i];
    ((log << 16) + LOG2[i] + ((step * rest) >> 16)) as i32
}

/// 2^x in Q16, with x in Q16.
pub fn exp2(x: i32) -> u32 {
    let fraction = (x.clamp(-EXP2_MAX, EXP2_MAX) + (16 << 16)) as u32;
    let shift = 30 - (fraction >> 16);
    let i = ((fraction >> 10) & 63) as usize;
    let step = EXP2[i + 1] - EXP2[i];
    let value = EXP2[i] + ((u64::from(step) * u64::from(fraction & 1023)) >> 10) as u32;
    value >> shift
}

/// tanh x in Q12, with x in Q12, and an error below 7e-4.
pub fn tanh(x: i32) -> i16 {
    let size = x.unsigned_abs();
    let y = if size >= TANH_END {
        u32::from(TANH[TANH.len() - 1])
    } else {
        let i = (size >> 8) as usize;
        let step = u32::from(TANH[i + 1] - TANH[i]);
        u32::from(TANH[i]) + ((step * (size & 255)) >> 8)
    };
    match x < 0 {
        true => -(y as i16),
        false => y as i16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_interpolate_the_functions() {
        let mut x = 1.0_f64;
        while x < 1.8e19 {
            let n = x as u64;
            let error = f64::from(log2(n)) / 65_536.0 - (n as f64).log2();
            assert!(error.abs() < 7e-5, "log2({n}): {error}");
            x *= 1.003;
        }
        for x in (-EXP2_MAX..=EXP2_MAX).step_by(777) {
            let want = f64::exp2(f64::from(x) / 65_536.0);
            let error = f64::from(exp2(x)) / 65_536.0 - want;
            assert!(error.abs() < 2e-5 * want + 1.6e-5, "exp2({x}): {error}");
        }
        for x in -20_000..20_000 {
            let error = f64::from(tanh(x)) / 4096.0 - (f64::from(x) / 4096.0).tanh();
            assert!(error.abs() < 7e-4, "tanh({x}): {error}");
        }
        assert_eq!((log2(1), log2(u64::MAX)), (0, (64 << 16) - 1));
        assert_eq!(
            (exp2(0), exp2(i32::MIN), exp2(i32::MAX)),
            (65_536, 4, 1 << 30)
        );
        assert_eq!(tanh(i32::MIN), -tanh(i32::MAX));
    }
}
