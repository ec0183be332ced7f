//! One function, and a test of it for root and each kind of ordinary user.

/// Makes tests of functions that take a [`Coracle`](crate::Coracle), for those whom it names by its
/// constructors. The tests are called `FUNCTION::as_root` and so on.
///
/// ```no_run
/// # use coracle_tests::Coracle;
/// fn it_says_its_version(coracle: &Coracle) {
///     coracle.call(["--version"]).output().succeeds();
/// }
///
/// coracle_tests::tests! {
///     as_root, as_ranged_user, as_single_user => it_says_its_version;
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! tests {
    (@of $whos:tt $($test:ident)+) => { $( $crate::tests!(@one $test $whos); )+ };
    (@one $test:ident [$($who:ident)+]) => {
        mod $test {
            $(
                #[test]
                fn $who() {
                    super::$test(&$crate::need!($crate::Coracle::$who()));
                }
            )+
        }
    };
    ($($($who:ident),+ => $($test:ident),+;)+) => {
        $( $crate::tests!(@of [$($who)+] $($test)+); )+
    };
}
